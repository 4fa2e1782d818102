// Package gce has the token source of an agent on a Google Compute Engine instance: the instance's identity token,
// which Google signs and which says of which project, zone and name it is. The controller's half is package
// auth/oidc with the issuer https://accounts.google.com.
package gce

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	"cloud.google.com/go/compute/metadata"
	"github.com/golang-jwt/jwt/v5"

	"github.com/miglink/miglink/transport"
)

// margin is how long before its end a token is asked for again.
const margin = 5 * time.Minute

// Identity is the identity token of the instance for an audience: the one that the controller asks for, its URL for
// example. The metadata server gives it, or the one that the environment variable GCE_METADATA_HOST names. It is
// kept until five minutes before it expires. An instance needs a service account for it; which one does not matter.
func Identity(audience string) transport.TokenSource {
	s := &source{
		path: "instance/service-accounts/default/identity?format=full&audience=" + url.QueryEscape(audience),
		turn: make(chan struct{}, 1),
	}
	return s.get
}

type source struct {
	path string
	turn chan struct{} // holds one while somebody asks

	token   string
	expires time.Time
}

func (s *source) get(ctx context.Context) (string, error) {
	select {
	case s.turn <- struct{}{}:
		defer func() { <-s.turn }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if time.Now().Before(s.expires.Add(-margin)) {
		return s.token, nil
	}
	token, err := metadata.GetWithContext(ctx, s.path)
	if err != nil && time.Now().Before(s.expires) {
		return s.token, nil // it is good for a while
	}
	if err != nil {
		return "", fmt.Errorf("gce: the metadata server: %w", err)
	}
	var claims jwt.RegisteredClaims
	// The controller verifies it; here only its end is of interest.
	if _, _, err := jwt.NewParser().ParseUnverified(token, &claims); err != nil || claims.ExpiresAt == nil {
		return "", errors.New("gce: what the metadata server gives is no token with an end")
	}
	s.token, s.expires = token, claims.ExpiresAt.Time
	return token, nil
}
