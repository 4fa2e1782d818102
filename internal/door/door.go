// Package door is where the server halves of all adapters ask who wants to be a VM.
package door

import (
	"context"
	"errors"
	"log/slog"

	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Door lets peers pass that show credentials for a VM. It is safe for concurrent use.
type Door struct {
	authenticator transport.Authenticator
	log           *peerlog.Log
}

// New returns a Door; without an Authenticator everybody passes. The log gets who did not, and why.
func New(a transport.Authenticator, log *peerlog.Log) Door { return Door{a, log} }

// Enter returns what credentials are good for, or why not: an error that may be told.
func (d Door) Enter(ctx context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
	g, told, cause := transport.Authenticate(ctx, d.authenticator, vm, c)
	if told == nil {
		return g, nil
	}
	if panicked := (*safely.Panic)(nil); errors.As(cause, &panicked) {
		d.log.Panicked(ctx, "", panicked)
	}
	// Whoever is refused may have made the name up: it is none that the log counts by.
	attrs := []slog.Attr{slog.String("vm_id", vm), slog.String("code", string(told.Code)), slog.Any("error", cause)}
	if c.Remote != "" {
		attrs = append(attrs, slog.String("remote", c.Remote))
	}
	if c.User != "" {
		attrs = append(attrs, slog.String("user", c.User))
	}
	d.log.Write(ctx, slog.LevelWarn, "refused", "", attrs...)
	return g, told
}
