package httplink

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/miglink/miglink/transport"
)

// Authenticate lets a request pass for a VM, or says why not: an error of package transport is told
// as it is, any other as unauthorized and without its text. Nil lets everybody pass.
type Authenticate func(r *http.Request, vm string) error

// Check calls a, if there is one.
func (a Authenticate) Check(r *http.Request, vm string) error {
	if a == nil {
		return nil
	}
	err := a(r, vm)
	if err == nil {
		return nil
	}
	if e := (*transport.Error)(nil); errors.As(err, &e) {
		return e
	}
	return transport.Errorf(transport.CodeUnauthorized, "these credentials do not open this VM's link")
}

// Authorize adds a bearer token to a request's header.
func Authorize(ctx context.Context, h http.Header, token transport.TokenSource) error {
	if token == nil {
		return nil
	}
	t, err := token(ctx)
	if err != nil {
		return fmt.Errorf("no token: %w", err)
	}
	h.Set("Authorization", "Bearer "+t)
	return nil
}
