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

// down begins the names of the queues of a VM.
func (s settings) down(token string) string { return s.exchange + ".down." + token + "." }

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

// connection is one to the broker.
type connection struct {
	*amqp.Connection
	exchange string
	user     string // whom the broker knows us as; empty: not known here
}

// connect makes a connection, which the broker knows by name.
func (s settings) connect(ctx context.Context, name string) (*connection, error) {
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
	unwatch := context.AfterFunc(ctx, func() { // the library's calls know no context
		mu.Lock()
		defer mu.Unlock()
		if raw != nil {
			raw.Close()
		}
	})
	conn, err := amqp.DialConfig(s.url, config)
	c := &connection{Connection: conn, exchange: s.exchange, user: s.user}
	if config.SASL != nil {
		c.user = ""
	}
	if !unwatch() {
		if err == nil {
			c.hangUp()
		}
		return nil, ctx.Err()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// within returns what do does, whose calls know no context. The connection ends with ctx until then.
func (c *connection) within(ctx context.Context, do func() error) error {
	unwatch := context.AfterFunc(ctx, c.hangUp)
	err := do()
	if !unwatch() {
		return ctx.Err()
	}
	return err
}

// hangUp closes the connection, soon also where the broker does not answer.
func (c *connection) hangUp() {
	_ = c.CloseDeadline(time.Now().Add(closeTimeout)) // it may have ended first
}
