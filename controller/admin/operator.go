package admin

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Operator is who calls the API, and what that one may do.
type Operator struct {
	Name    string    // for the audit
	Grants  []Grant   // what none of them allows is refused
	Expires time.Time // when the credentials do, which ends watches; zero: never
}

// Authenticator says who shows credentials. It is safe for concurrent use.
type Authenticator interface {
	// Authenticate returns why not as an error: one of package transport is told to the caller as it is, any other
	// as unauthorized and without its text.
	Authenticate(ctx context.Context, c transport.Credentials) (Operator, error)
}

// AuthenticatorFunc is a function that is an Authenticator.
type AuthenticatorFunc func(ctx context.Context, c transport.Credentials) (Operator, error)

// Authenticate calls f.
func (f AuthenticatorFunc) Authenticate(ctx context.Context, c transport.Credentials) (Operator, error) {
	return f(ctx, c)
}

// Tokens knows operators by bearer tokens. What verify returns of a good token is the operator's name, grants as
// text, and when the token expires. A grant that does not parse makes the whole token a bad one.
func Tokens(verify func(token string) (name string, grants []string, expires time.Time, err error)) Authenticator {
	return AuthenticatorFunc(func(_ context.Context, c transport.Credentials) (Operator, error) {
		if c.Token == "" {
			return Operator{}, transport.Errorf(transport.CodeUnauthorized, "a token is wanted, as Authorization: Bearer")
		}
		name, list, expires, err := verify(c.Token)
		if err != nil {
			return Operator{}, err
		}
		grants, err := ParseGrants(list)
		if err != nil {
			return Operator{}, fmt.Errorf("the token of %.140q: %w", name, err)
		}
		return Operator{Name: name, Grants: grants, Expires: expires}, nil
	})
}

// everybody is the operator where nobody is asked who it is.
var everybody = Operator{Grants: []Grant{{Verb: VerbRead}, {Verb: VerbSend}, {Verb: VerbSettle}}}

// may says whether an operator may do something to commands of a type of a VM.
func (o Operator) may(v Verb, vm string, t command.Type) bool {
	for _, g := range o.Grants {
		if g.allows(v, vm, t) {
			return true
		}
	}
	return false
}

// mayAll says whether one grant lets an operator do something to the commands of a VM of every type.
func (o Operator) mayAll(v Verb, vm string) bool {
	for _, g := range o.Grants {
		if g.allowsVM(v, vm) && anyIsEmpty(g.Type) == "" {
			return true
		}
	}
	return false
}

// mayAllOfAll is mayAll for every VM.
func (o Operator) mayAllOfAll(v Verb) bool {
	for _, g := range o.Grants {
		if g.Verb == v && anyIsEmpty(g.Type) == "" && anyIsEmpty(g.VM) == "" {
			return true
		}
	}
	return false
}

// knows says whether an operator may be told that there is a command of a type of a VM: who may read it is told more,
// and who may send one has perhaps sent it.
func (o Operator) knows(vm string, t command.Type) bool {
	return o.may(VerbRead, vm, t) || o.may(VerbSend, vm, t)
}

// mayReadVM says whether an operator may see what is not about one command.
func (o Operator) mayReadVM(vm string) bool {
	for _, g := range o.Grants {
		if g.allowsVM(VerbRead, vm) {
			return true
		}
	}
	return false
}

// mayRead says whether an operator may read anything at all.
func (o Operator) mayRead() bool {
	for _, g := range o.Grants {
		if g.Verb == VerbRead {
			return true
		}
	}
	return false
}

// authenticate asks a, if there is one. The error may be told; what else went wrong is in cause, for a log.
func authenticate(ctx context.Context, a Authenticator, c transport.Credentials) (op Operator, told *transport.Error, cause error) {
	if a == nil {
		return everybody, nil, nil
	}
	if len(c.Token) > transport.MaxToken {
		told = transport.Errorf(transport.CodeTooLarge, "the token has %d bytes, at most %d are allowed", len(c.Token), transport.MaxToken)
		return Operator{}, told, told
	}
	err := safely.Do(func() (err error) {
		op, err = a.Authenticate(ctx, c)
		return err
	})
	switch {
	case errors.As(err, new(*safely.Panic)):
		return Operator{}, transport.Errorf(transport.CodeInternal, "who this is cannot be told"), err
	case err == nil && !op.Expires.IsZero() && !time.Now().Before(op.Expires):
		told = transport.Grant{}.Over()
		return Operator{}, told, told
	case err == nil:
		return op, nil, nil
	case errors.As(err, &told):
		return Operator{}, told, err
	}
	return Operator{}, transport.Errorf(transport.CodeUnauthorized, "these are no credentials of an operator"), err
}

// CheckReader returns nil where the operator who sends r may read everything, and else what to answer: for endpoints
// besides those of Handler that show what only operators should know.
func CheckReader(a Authenticator, r *http.Request) error {
	op, told, _ := authenticate(r.Context(), a, httplink.Credentials(r))
	if told != nil {
		return told
	}
	if !op.mayAllOfAll(VerbRead) {
		return transport.Errorf(transport.CodeForbidden, "this needs the grant read")
	}
	return nil
}
