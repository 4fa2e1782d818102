package oidc

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/sync/singleflight"
)

// issuer is asked for where its keys are until it has said so once. It is safe for concurrent use.
type issuer struct {
	name     string // without a password
	discover func(context.Context) (*oidc.IDTokenVerifier, error)
	known    atomic.Pointer[oidc.IDTokenVerifier] // nil until it has answered
	asking   singleflight.Group
}

func newIssuer(u *url.URL, raw, audience string, client *http.Client) *issuer {
	return &issuer{name: u.Redacted(), discover: func(ctx context.Context) (*oidc.IDTokenVerifier, error) {
		ctx = oidc.ClientContext(ctx, client)
		provider, err := oidc.NewProvider(ctx, raw)
		if err != nil {
			return nil, err
		}
		return provider.VerifierContext(ctx, &oidc.Config{ClientID: audience, SupportedSigningAlgs: algorithms}), nil
	}}
}

// verifier returns what the issuer's tokens are verified with. All who wait for it wait for one answer.
func (i *issuer) verifier(ctx context.Context) (*oidc.IDTokenVerifier, error) {
	if v := i.known.Load(); v != nil {
		return v, nil
	}
	// What one asks all wait for, and the verifier is used for ever: it does not end with ctx. The client has a timeout.
	lasting := context.WithoutCancel(ctx)
	answer := i.asking.DoChan("", func() (any, error) {
		v, err := i.discover(lasting)
		if err == nil {
			i.known.Store(v)
		}
		return v, err
	})
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("oidc: %w: %s: %w", ErrIssuer, i.name, ctx.Err())
	case a := <-answer:
		if a.Err != nil {
			return nil, fmt.Errorf("oidc: %w: %s: %w", ErrIssuer, i.name, brief(a.Err))
		}
		return a.Val.(*oidc.IDTokenVerifier), nil
	}
}
