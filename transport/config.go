package transport

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"

	"github.com/miglink/miglink/internal/safely"
)

// Config is what every client half can be opened with, so that one flag can select among them.
type Config struct {
	// URL of the controller: http://host:port, or https. Where it has no path, /api/v1 is meant.
	URL string
	// Broker is the URL of the message broker, for transports over one: nats://, redis:// or amqp://host.
	Broker string
	// Prefix begins the names of everything on the broker. Empty is miglink.
	Prefix string
	// TLS is for https, and for a broker that speaks TLS; nil is Go's default. Where no MinVersion is set, TLS
	// 1.3 is the least. See package tlsfile for one that reads files again. With a URL that speaks no TLS it is an
	// error, so that nothing goes in the clear that was not meant to; nats:// speaks it then, and nothing else. Google
	// Cloud Pub/Sub has its own, and takes none but beside transports that use it.
	TLS *tls.Config
	// Token is asked for a bearer token before each dial and each request. Over a broker the token is in the
	// hello. Nil sends none.
	Token TokenSource
	// Insecure lets a Token go in the clear, by a URL that speaks no TLS, to another machine, where whoever is in between
	// can read it and use it. Without it that is an error. To this machine (127.0.0.1, ::1, localhost, names below
	// localhost) a token goes in the clear all the same.
	Insecure bool
	// Log gets what a Fallback decides, and a warning where a broker's password goes in the clear. Nil is none.
	Log *slog.Logger
}

// TokenSource returns a bearer token that is good now. It is safe for concurrent use, and keeps a
// token as long as it is good: it may be called for every request.
type TokenSource func(ctx context.Context) (string, error)

// Get asks s for a token; none where s is nil.
func (s TokenSource) Get(ctx context.Context) (string, error) {
	if s == nil {
		return "", nil
	}
	var token string
	err := safely.Do(func() (err error) { // s's caller may be a goroutine of an adapter's
		token, err = s(ctx)
		return err
	})
	if err != nil {
		return "", fmt.Errorf("no token: %w", err)
	}
	return token, nil
}
