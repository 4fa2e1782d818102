package httplink

import (
	"context"
	"net/http"
	"strings"

	"github.com/miglink/miglink/transport"
)

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
