package rabbitmq

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport/tlsfile"
)

const (
	connectTimeout = 10 * time.Second
	closeTimeout   = time.Second
	heartbeat      = 10 * time.Second
)

// settings are what both halves connect with.
type settings struct {
	url       string
	user      string // whom the broker will know us as; empty: not known here
	exchange  string
	tls       *tls.Config // nil: the URL is not of amqps
	configure func(*amqp.Config)
}

func newSettings(url, prefix string, c *tls.Config, configure func(*amqp.Config)) (settings, error) {
	if prefix == "" {
		prefix = broker.DefaultPrefix
	}
	if strings.ContainsAny(prefix, " \t\r\n*#") || strings.HasPrefix(prefix, "amq.") || len(prefix) > 64 {
		return settings{}, fmt.Errorf("%q is no prefix of an exchange and its queues", prefix)
	}
	u, err := amqp.ParseURI(url)
	if err != nil || u.Host == "" {
		return settings{}, errors.New("the broker's URL is to be like amqp://host:5672/vhost, or amqps") // it may hold a password
	}
	if c, err = withTLS(u, c); err != nil {
		return settings{}, err
	}
	return settings{url: url, user: u.Username, exchange: prefix, tls: c, configure: configure}, nil
}

// down is the queue of a link's agent.
func (s settings) down(link string) string { return s.exchange + ".down." + link }

// check says why the broker cannot be used so: its URL, too, may ask for TLS that is not spoken.
func check(raw string, u secure.Use, log *slog.Logger) error {
	of, err := amqp.ParseURI(raw)
	if err != nil {
		return err
	}
	w := secure.Parse(raw)[0]
	secure.WarnPassword(log, w, of.Password != "")
	u.TLS = u.TLS || of.CACertFile != "" || of.CertFile != "" || of.KeyFile != "" || of.ServerName != ""
	return w.Check(u)
}

// withTLS is what amqps speaks TLS with: c, or what the URL's query names, as the library has it.
func withTLS(u amqp.URI, c *tls.Config) (*tls.Config, error) {
	if u.Scheme != "amqps" {
		return nil, nil
	}
	if c != nil {
		return secure.TLS(c), nil
	}
	files := tlsfile.ClientFiles{CA: u.CACertFile, Cert: u.CertFile, Key: u.KeyFile}
	if net.ParseIP(u.Host) != nil {
		files.Addresses = []string{u.Host}
	}
	c, err := tlsfile.Client(files)
	if err == nil {
		c.ServerName = u.ServerName
	}
	return c, err
}

// connection is one to the broker, with its channels. A channel that the broker closes ends it all.
type connection struct {
	*amqp.Connection
	in, out  *amqp.Channel // to consume, and to publish with confirms
	exchange string
	user     string

	ended chan struct{} // closed at the end; err says why then
	err   error
}

// connect connects and has setup prepare what is needed, or says why it could not. Messages that nobody
// takes are given to returned, by their routing key.
func (s settings) connect(ctx context.Context, name string, returned func(key string), setup func(*connection) error) (*connection, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	d := net.Dialer{KeepAlive: 15 * time.Second}
	config := amqp.Config{
		Heartbeat: heartbeat, Properties: amqp.NewConnectionProperties(),
		TLSClientConfig: s.tls.Clone(), // the library completes it
		Dial:            func(network, addr string) (net.Conn, error) { return d.DialContext(ctx, network, addr) },
	}
	config.Properties.SetClientConnectionName(name)
	if s.configure != nil {
		s.configure(&config)
	}
	var mu sync.Mutex
	var raw net.Conn
	dial := config.Dial
	if dial == nil {
		dial = amqp.DefaultDial(connectTimeout)
	}
	config.Dial = func(network, addr string) (net.Conn, error) {
		c, err := dial(network, addr)
		if err != nil {
			return nil, err
		}
		mu.Lock()
		defer mu.Unlock()
		if err := ctx.Err(); err != nil { // what closes raw may have been here
			c.Close()
			return nil, err
		}
		raw = c
		return c, nil
	}
	user := s.user
	if config.SASL != nil {
		user = ""
	}
	unwatch := context.AfterFunc(ctx, func() { // the library's calls know no context
		mu.Lock()
		defer mu.Unlock()
		if raw != nil {
			raw.Close()
		}
	})
	c, err := s.open(config, returned)
	if err == nil {
		c.user = user
		if err = setup(c); err != nil {
			err = c.why(err)
			c.close()
		}
	}
	if !unwatch() {
		if err == nil {
			c.close()
		}
		return nil, fmt.Errorf("rabbitmq: %w", ctx.Err())
	}
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	return c, nil
}

func (s settings) open(config amqp.Config, returned func(key string)) (*connection, error) {
	conn, err := amqp.DialConfig(s.url, config)
	if err != nil {
		return nil, err
	}
	c := &connection{Connection: conn, exchange: s.exchange, ended: make(chan struct{})}
	if c.in, err = conn.Channel(); err == nil {
		c.out, err = conn.Channel()
	}
	if err == nil {
		err = c.out.Confirm(false)
	}
	if err != nil {
		hangUp(conn)
		return nil, err
	}
	go c.watch(conn.NotifyClose(make(chan *amqp.Error, 1)), c.in.NotifyClose(make(chan *amqp.Error, 1)), c.out.NotifyClose(make(chan *amqp.Error, 1)))
	returns := c.out.NotifyReturn(make(chan amqp.Return, 1))
	go func() {
		for r := range returns {
			returned(r.RoutingKey)
		}
	}()
	return c, nil
}

// hangUp closes a connection, soon also where the broker does not answer.
func hangUp(c *amqp.Connection) {
	_ = c.CloseDeadline(time.Now().Add(closeTimeout)) // it may have ended first
}

// watch ends the connection with the first of what ends.
func (c *connection) watch(conn, in, out <-chan *amqp.Error) {
	var err *amqp.Error
	select {
	case err = <-conn:
	case err = <-in:
	case err = <-out:
	}
	c.err = broker.ErrLost
	if err != nil {
		c.err = err
	}
	close(c.ended)
	hangUp(c.Connection)
}

// why is the reason for which the connection has ended, if that is why something failed.
func (c *connection) why(err error) error {
	select {
	case <-c.ended:
		return c.err
	case <-time.After(closeTimeout):
		return err
	}
}

func (c *connection) close() {
	hangUp(c.Connection)
	<-c.ended
}

var errConfirm = errors.New("the broker did not take a message")

// defaultExchange hands a message to the queue that its key names.
const defaultExchange = ""

// publish returns when the broker has taken a message, which may yet be returned.
func (c *connection) publish(ctx context.Context, exchange, key string, b []byte) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	confirmed, err := c.out.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{
		ContentType: "application/json", UserId: c.user, Body: b,
	})
	if err != nil {
		return c.why(err)
	}
	select {
	case <-confirmed.Done():
		if !confirmed.Acked() {
			return c.why(errConfirm)
		}
		return nil
	case <-c.ended:
		return c.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// consume returns the messages of a queue of ours alone.
func (c *connection) consume(queue string) (<-chan amqp.Delivery, error) {
	if _, err := c.in.QueueDeclare(queue, false, true, true, false, nil); err != nil {
		return nil, err
	}
	return c.in.Consume(queue, "", true, true, false, false, nil)
}
