package httplink

import (
	"context"
	"log/slog"
	"net/http"
	"strings"

	"github.com/miglink/miglink/internal/refusal"
	"github.com/miglink/miglink/transport"
)

// Door lets requests pass that show credentials for the VM they are about.
type Door struct {
	authenticator transport.Authenticator
	refused       *refusal.Log
}

// NewDoor returns a Door; without an Authenticator everybody passes.
func NewDoor(a transport.Authenticator, log *slog.Logger) Door { return Door{a, refusal.New(log)} }

// Enter returns what a request's credentials are good for, or why not.
func (d Door) Enter(r *http.Request, vm string) (transport.Grant, error) {
	g, told, cause := transport.Authenticate(r.Context(), d.authenticator, vm, Credentials(r))
	if told != nil {
		d.refused.Add(r.Context(), slog.String("vm_id", vm), slog.String("remote", r.RemoteAddr), slog.String("code", string(told.Code)), slog.Any("error", cause))
		return g, told
	}
	return g, nil
}

// Credentials are those of a request. A certificate is one only where the server has verified it.
func Credentials(r *http.Request) transport.Credentials {
	c := transport.Credentials{Remote: r.RemoteAddr}
	if scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && strings.EqualFold(scheme, "Bearer") {
		c.Token = strings.TrimSpace(token)
	}
	if r.TLS != nil && len(r.TLS.VerifiedChains) > 0 {
		c.Certificate = r.TLS.VerifiedChains[0][0]
	}
	return c
}

// Authorize adds a bearer token to a request's header.
func Authorize(ctx context.Context, h http.Header, token transport.TokenSource) error {
	t, err := token.Get(ctx)
	if err == nil && t != "" {
		h.Set("Authorization", "Bearer "+t)
	}
	return err
}
