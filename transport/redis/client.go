package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

// Options are optional.
type Options struct {
	// Prefix of all channels. Default: miglink.
	Prefix string
	// TLS is for rediss, and an error for redis. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Redis changes the library's own options, for credentials. What it says of TLS counts. It is called once: for a password
	// that changes set CredentialsProviderContext.
	Redis func(*redis.Options)
	// Token is asked for a bearer token before each dial, which goes with the hello. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config.
	Insecure bool
	// Log gets a warning where the server's password goes in the clear. Default: none.
	Log *slog.Logger
}

// Transport dials links over a Redis server. It is safe for concurrent use.
type Transport struct {
	settings settings
	token    transport.TokenSource
}

// New returns a Transport to the controllers that listen on the server at url, as redis://host:6379. Each
// link has two connections to the server of its own.
func New(url string, o Options) (*Transport, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.Redis)
	if err == nil {
		err = s.check(url, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure}, o.Log)
	}
	if err != nil {
		return nil, err
	}
	// After as many failed dials as PoolSize the pool goes on dialling by itself, a while beyond its end.
	s.options.PoolSize, s.options.MaxActiveConns = 16, 1
	return &Transport{s, o.Token}, nil
}

// Open is New for a transport.Registry; the server is the Broker of the Config.
func Open(c transport.Config) (transport.Transport, error) {
	if err := broker.Speaks(c.Broker, "redis://host:6379", "redis", "rediss", "unix"); err != nil {
		return nil, err
	}
	return New(c.Broker, Options{Prefix: c.Prefix, TLS: c.TLS, Token: c.Token, Insecure: c.Insecure, Log: c.Log})
}

var errNobody = errors.New("no controller listens on this Redis server")

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	s := t.settings
	as := "miglink-agent-" + broker.Token(hello.VM)
	link := name(hello.VM, uuid.NewString())
	sub := s.subscriber(as)
	err := sub.Subscribe(ctx, s.down(link))
	if err == nil {
		err = sub.await(ctx, 1)
	}
	if err != nil {
		sub.close()
		return nil, fmt.Errorf("redis: %w", bare(err))
	}
	out := s.client(as)
	greeted := false
	received := make(chan struct{})
	p := broker.NewPipe(broker.PipeOptions{
		Name: "redis",
		Publish: func(ctx context.Context, b []byte) error {
			if greeted || len(b) == 0 {
				return publish(ctx, out, s.up(link), b)
			}
			greeted = true
			err := publish(ctx, out, s.hello(link), b)
			if errors.Is(err, broker.ErrGone) {
				err = errNobody
			}
			return err
		},
		Release: func() {
			sub.close()
			out.Close()
			<-received
		},
	})
	var others broker.Started
	// The answer is not waited for. Where it is not allowed a controller that has died is noticed by its silence.
	_ = sub.Subscribe(ctx, s.started())
	go func() {
		defer close(received)
		for {
			m, err := sub.Receive(context.Background())
			switch {
			case redis.IsPermissionError(err):
				continue
			case err != nil:
				p.Fail(bare(err))
				return
			}
			switch m, ok := m.(*redis.Message); {
			case !ok:
			case m.Channel == s.started():
				others.Heard()
			default:
				p.Deliver([]byte(m.Payload))
			}
		}
	}()
	return broker.Dial(ctx, "redis", p, hello, t.token, &others)
}
