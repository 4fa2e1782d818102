package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

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
	// AMQP changes the library's own configuration, for credentials. What it says of TLS counts. It is called for each
	// connection, so that a password may change.
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
	rest     rest
}

// New returns a Transport to the controllers that listen on the broker at url, as
// amqp://user:password@host:5672/vhost. Each link has a connection to the broker of its own, which the next of the VM may
// take over where its controller has died.
func New(url string, o Options) (*Transport, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.AMQP)
	if err == nil {
		err = check(url, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure}, o.Log)
	}
	if err != nil {
		return nil, err
	}
	return &Transport{settings: s, token: o.Token}, nil
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
	token := broker.Token(hello.VM)
	queue := t.settings.down(token) + uuid.NewString()
	if len(queue) > maxKey {
		return nil, fmt.Errorf("rabbitmq: the VM's name makes a queue's name of %d bytes, %d are allowed: take a shorter name or prefix", len(queue), maxKey)
	}
	setUp, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	conn := t.rest.take(hello.VM)
	s, err := t.reopen(setUp, conn, token)
	if err != nil {
		var c *connection
		if c, err = t.settings.connect(setUp, "miglink agent "+hello.VM); err == nil {
			conn = &agentConnection{connection: c, queue: queue}
			s, err = t.open(setUp, conn, token)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	s.rest = func() { t.rest.put(hello.VM, conn) }
	l, err := broker.Dial(ctx, "rabbitmq", s.pipe, hello, t.token, &conn.others)
	if err == nil {
		conn.hearing.Do(func() { go conn.hearStarted(t.settings.started(), conn.others.Heard) })
	}
	if e := (*amqp.Error)(nil); errors.As(err, &e) && e.Code == amqp.NotFound {
		return nil, fmt.Errorf("rabbitmq: %w: %w", errNoExchange, err)
	}
	return l, err
}

var errNoConnection = errors.New("there is no connection")

// reopenTime is how long a connection of a link before may take, which may be broken, until another is made.
const reopenTime = 2 * time.Second

// reopen is open for a connection of a link before, or nil.
func (t *Transport) reopen(ctx context.Context, conn *agentConnection, token string) (*session, error) {
	if conn == nil {
		return nil, errNoConnection
	}
	ctx, cancel := context.WithTimeout(ctx, reopenTime)
	defer cancel()
	return t.open(ctx, conn, token)
}

// open opens a session of a connection, or closes that.
func (t *Transport) open(ctx context.Context, conn *agentConnection, token string) (*session, error) {
	s := &session{vm: token, id: uuid.NewString(), conn: conn}
	if err := conn.within(ctx, s.open); err != nil {
		conn.hangUp()
		return nil, err
	}
	return s, nil
}
