package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

// Options are optional.
type Options struct {
	// Prefix names the exchange, and begins the names of queues. Default: miglink.
	Prefix string
	// TLS is for amqps, and an error for amqp. Default: Go's, with the files that the URL's query names. Where no MinVersion is set,
	// TLS 1.3 is the least.
	TLS *tls.Config
	// AMQP changes the library's own configuration, for credentials. What it says of TLS counts.
	AMQP func(*amqp.Config)
	// Token is asked for a bearer token before each dial, which goes with the hello. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config.
	Insecure bool
	// Log gets a warning where the broker's password goes in the clear. Default: none.
	Log *slog.Logger
}

// Transport dials links over a RabbitMQ broker. It is safe for concurrent use.
type Transport struct {
	settings settings
	token    transport.TokenSource
}

// New returns a Transport to the controllers that listen on the broker at url, as
// amqp://user:password@host:5672/vhost. Each link has a connection to the broker of its own.
func New(url string, o Options) (*Transport, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.AMQP)
	if err == nil {
		err = check(url, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure}, o.Log)
	}
	if err != nil {
		return nil, err
	}
	return &Transport{s, o.Token}, nil
}

// Open is New for a transport.Registry; the broker is that of the Config.
func Open(c transport.Config) (transport.Transport, error) {
	if err := broker.Speaks(c.Broker, "amqp://host:5672", "amqp", "amqps"); err != nil {
		return nil, err
	}
	return New(c.Broker, Options{Prefix: c.Prefix, TLS: c.TLS, Token: c.Token, Insecure: c.Insecure, Log: c.Log})
}

var (
	errNobody     = errors.New("no controller listens on this broker")
	errNoExchange = errors.New("no controller has ever listened on this broker")
)

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	link := broker.Token(hello.VM) + "." + uuid.NewString()
	var conn *connection
	greeted := false
	consumed := make(chan struct{})
	p := broker.NewPipe(broker.PipeOptions{
		Name: "rabbitmq",
		Publish: func(ctx context.Context, b []byte) error {
			if greeted || len(b) == 0 {
				return conn.publish(ctx, conn.exchange, "up."+link, b)
			}
			greeted = true
			return conn.publish(ctx, conn.exchange, "hello."+link, b)
		},
		Release: func() {
			conn.close()
			<-consumed
		},
	})
	var in <-chan amqp.Delivery
	conn, err := t.settings.connect(ctx, "miglink agent "+hello.VM,
		func(key string) {
			if key == "hello."+link {
				p.Fail(errNobody)
			} else {
				p.Fail(broker.ErrGone)
			}
		},
		func(c *connection) (err error) {
			if err = c.in.ExchangeDeclarePassive(c.exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
				return err
			}
			in, err = c.consume(t.settings.down(link))
			return err
		})
	if e := (*amqp.Error)(nil); errors.As(err, &e) && e.Code == amqp.NotFound {
		return nil, fmt.Errorf("rabbitmq: %w: %w", errNoExchange, err)
	}
	if err != nil {
		return nil, err
	}
	go func() {
		defer close(consumed)
		for d := range in {
			p.Deliver(d.Body)
		}
		<-conn.ended
		p.Fail(conn.err)
	}()
	var others broker.Started
	l, err := broker.Dial(ctx, "rabbitmq", p, hello, t.token, &others)
	if err == nil {
		go conn.hearStarted(t.settings.started(), others.Heard)
	}
	return l, err
}
