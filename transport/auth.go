package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"time"

	"github.com/miglink/miglink/internal/safely"
)

// Credentials are what a peer has shown of itself, as far as the adapter can read it. They are secret.
type Credentials struct {
	// Token is a bearer token: of an HTTP request's Authorization, or of a hello over a broker. Empty: none.
	Token string
	// Certificate is the peer's, of TLS, where the server has verified it. Nil: none.
	Certificate *x509.Certificate
	// User is the name by which a broker knows the peer, where it vouches for that. Empty: it does not.
	User string
	// Remote is the address of the peer, or of what is in between; for logs. Empty: not known.
	Remote string
}

// Grant is what credentials are good for: one VM.
type Grant struct {
	// Expires is when the link is to be closed, with CodeCredentialsExpired. Zero: never.
	Expires time.Time
}

// Context ends when the grant does; its cause then is the error to tell. Where it never does, it is ctx itself.
func (g Grant) Context(ctx context.Context) (context.Context, context.CancelFunc) {
	if g.Expires.IsZero() {
		return ctx, func() {}
	}
	return context.WithDeadlineCause(ctx, g.Expires, g.Over())
}

// Over is the error of a link whose credentials have expired.
func (Grant) Over() *Error {
	return Errorf(CodeCredentialsExpired, "these credentials have expired")
}

// Authenticator says whether who shows credentials is a VM, or may speak for it. Every server half takes
// one. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate returns why not as an error: one of this package is told to the peer as it is, any other
	// as unauthorized and without its text.
	Authenticate(ctx context.Context, vm string, c Credentials) (Grant, error)
}

// AuthenticatorFunc is a function that is an Authenticator.
type AuthenticatorFunc func(ctx context.Context, vm string, c Credentials) (Grant, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, vm string, c Credentials) (Grant, error) {
	return f(ctx, vm, c)
}

// MaxToken bounds a bearer token, in bytes.
const MaxToken = 8 << 10

// Authenticate is what every server half does with an Authenticator; nil lets everybody pass. The error is one
// that may be told, and of package transport; what else went wrong is in cause, for a log.
func Authenticate(ctx context.Context, a Authenticator, vm string, c Credentials) (g Grant, told *Error, cause error) {
	if a == nil {
		return Grant{}, nil, nil
	}
	if len(c.Token) > MaxToken {
		told = Errorf(CodeTooLarge, "the token has %d bytes, at most %d are allowed", len(c.Token), MaxToken)
		return Grant{}, told, told
	}
	err := safely.Do(func() (err error) { // a's own goroutine would end the process with all other links
		g, err = a.Authenticate(ctx, vm, c)
		return err
	})
	switch {
	case errors.As(err, new(*safely.Panic)):
		return Grant{}, &Error{Code: CodeInternal}, err
	case err == nil && !g.Expires.IsZero() && !time.Now().Before(g.Expires):
		told = g.Over()
		return Grant{}, told, told
	case err == nil:
		return g, nil, nil
	case errors.As(err, &told):
		return Grant{}, told, err
	}
	if c.Token == "" && c.Certificate == nil && c.User == "" {
		return Grant{}, Errorf(CodeUnauthorized, "no credentials were given, and this VM's link takes some: "+
			"send the header \"Authorization: Bearer TOKEN\", a client certificate, or over a broker a token in the hello (miglink agent --token-file, --cert)"), err
	}
	return Grant{}, Errorf(CodeUnauthorized, "these credentials do not open this VM's link; the controller's log says why"), err
}
