package conformance

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/miglink/miglink/transport"
)

// credentials are the tokens of one scenario: what the server half lets pass, and what the client half shows.
type credentials struct {
	mu     sync.Mutex
	issued map[string]pass
	token  func() string // what the client half shows now
}

// pass is what a token is good for: one VM, or any.
type pass struct {
	vm      string
	expires time.Time // zero: never
	panics  bool      // whoever looks at it
}

func newCredentials() *credentials {
	c := &credentials{issued: map[string]pass{}}
	c.show(c.issue(pass{}))
	return c
}

func (c *credentials) issue(p pass) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	token := "t0ken-" + strconv.Itoa(len(c.issued))
	c.issued[token] = p
	return token
}

// show has the client half show a token from now on.
func (c *credentials) show(token string) { c.showEach(func() string { return token }) }

// showEach has it ask for one each time.
func (c *credentials) showEach(token func() string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.token = token
}

func (c *credentials) shown() string {
	c.mu.Lock()
	token := c.token
	c.mu.Unlock()
	return token()
}

func (c *credentials) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.issued)
}

// Authenticate implements transport.Authenticator.
func (c *credentials) Authenticate(_ context.Context, vm string, shown transport.Credentials) (transport.Grant, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p, ok := c.issued[shown.Token]
	switch {
	case !ok:
		return transport.Grant{}, transport.Errorf(transport.CodeUnauthorized, "this is no token")
	case p.panics:
		panic("on purpose")
	case p.vm != "" && p.vm != vm:
		return transport.Grant{}, transport.Errorf(transport.CodeForbidden, "this token is another VM's")
	}
	return transport.Grant{Expires: p.expires}, nil
}

// Authenticator is for the server half.
func (e *Env) Authenticator() transport.Authenticator { return e.credentials }

// Token is the client half's transport.TokenSource. What it returns changes.
func (e *Env) Token(context.Context) (string, error) { return e.credentials.shown(), nil }
