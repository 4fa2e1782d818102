package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

// Options are optional.
type Options struct {
	// Prefix of all subjects. Default: miglink.
	Prefix string
	// TLS has nothing but TLS spoken, also for nats://. Default: Go's, for tls:// and where the broker wants it. Where no
	// MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// NATS are the library's own options, for credentials. What they say of TLS counts. They are applied for each connection,
	// so that a password may change.
	NATS []nats.Option
	// Token is asked for a bearer token before each dial, which goes with the hello. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config. A broker that asks for TLS by
	// itself, without TLS here or tls://, is not waited for: whoever is in between could leave that out.
	Insecure bool
	// Log gets a warning where the broker's password goes in the clear. Default: none.
	Log *slog.Logger
}

// Transport dials links over a broker. It is safe for concurrent use.
type Transport struct {
	url    string
	prefix string
	nats   []nats.Option
	token  transport.TokenSource
}

// New returns a Transport to the controllers that listen on the broker at url, as nats://host:4222. Each
// link has a connection to the broker of its own.
func New(url string, o Options) (*Transport, error) {
	prefix, err := checkPrefix(o.Prefix)
	if err == nil {
		err = checkURL(url)
	}
	if err != nil {
		return nil, err
	}
	options := append([]nats.Option{withTLS(o.TLS)}, o.NATS...)
	if err := checkWays(url, options, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure}, o.Log); err != nil {
		return nil, err
	}
	return &Transport{url: url, prefix: prefix, nats: options, token: o.Token}, nil
}

// Open is New for a transport.Registry; the broker is that of the Config.
func Open(c transport.Config) (transport.Transport, error) {
	if err := broker.Speaks(c.Broker, "nats://host:4222", "nats", "tls", "ws", "wss"); err != nil {
		return nil, err
	}
	return New(c.Broker, Options{Prefix: c.Prefix, TLS: c.TLS, Token: c.Token, Insecure: c.Insecure, Log: c.Log})
}

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	ended, cancel := context.WithCancelCause(context.Background())
	word := t.prefix + started
	conn, err := connect(ctx, t.url, append([]nats.Option{
		nats.Name("miglink agent " + hello.VM),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+word+`"`) {
				return // without it a controller that has died is noticed by its silence
			}
			cancel(fmt.Errorf("nats: %w", bare(err)))
		}),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err == nil {
				err = errors.New("the connection to the broker ended")
			}
			cancel(fmt.Errorf("nats: %w", bare(err)))
		}),
	}, t.nats...)...)
	if err != nil {
		cancel(nil)
		return nil, err
	}
	session := uuid.New().String()
	vm := broker.Token(hello.VM)
	in, err := conn.SubscribeSync(t.prefix + ".down." + vm + "." + session)
	if err != nil {
		cancel(nil)
		conn.Close()
		return nil, fmt.Errorf("nats: %w", bare(err))
	}
	p := newPipe(conn, t.prefix+".up."+vm+"."+session)
	p.listen(in)
	p.hello = t.prefix + ".hello." + vm
	stop := context.AfterFunc(ended, func() { p.cancel(context.Cause(ended)) })
	p.onDone = func() {
		stop()
		conn.Close()
		cancel(nil)
	}
	var others broker.Started
	_, _ = conn.Subscribe(word, func(*nats.Msg) { others.Heard() }) // the connection may have ended, of which p hears
	return broker.Dial(ctx, "nats", p, hello, t.token, &others)
}
