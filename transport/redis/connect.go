package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
)

const (
	connectTimeout = 10 * time.Second
	commandTimeout = 5 * time.Second // a server that takes longer is dead
)

// settings are what both halves connect with.
type settings struct {
	prefix  string
	options redis.Options
}

func newSettings(url, prefix string, c *tls.Config, configure func(*redis.Options)) (settings, error) {
	if prefix == "" {
		prefix = broker.DefaultPrefix
	}
	if strings.ContainsAny(prefix, " \t\r\n*?[]\\^") {
		return settings{}, fmt.Errorf("%q is no prefix of channels", prefix)
	}
	o, err := redis.ParseURL(url)
	if err != nil || o.Addr == "" {
		return settings{}, errors.New("the server's URL is to be like redis://host:6379, or rediss") // it may hold a password
	}
	if o.TLSConfig != nil {
		o.TLSConfig = withTLS(o.TLSConfig, c)
	}
	o.MaxRetries, o.DialerRetries = -1, 1 // what fails ends its link
	o.DialTimeout, o.ReadTimeout, o.WriteTimeout = connectTimeout, commandTimeout, commandTimeout
	o.ContextTimeoutEnabled = true
	o.DisableIdentity = true // CLIENT SETINFO is a privilege that older servers cannot give
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	if configure != nil {
		configure(o)
	}
	return settings{prefix, *o}, nil
}

// check says why the server cannot be used so. The library's own options may name another, or have TLS spoken to it.
func (s settings) check(raw string, u secure.Use, log *slog.Logger) error {
	w := secure.Parse(raw)[0]
	w.TLS = s.options.TLSConfig != nil
	if w.Local = s.options.Network == "unix"; !w.Local {
		if host, _, err := net.SplitHostPort(s.options.Addr); err == nil {
			w.Host, w.Local = host, secure.Loopback(host)
		}
	}
	secure.WarnPassword(log, w, s.options.Password != "")
	return w.Check(u)
}

// withTLS is what rediss speaks TLS with: c, or what the library has made of the URL.
func withTLS(ofURL, c *tls.Config) *tls.Config {
	if c == nil {
		ofURL.MinVersion = 0 // which is the library's, and nobody's decision
		return secure.TLS(ofURL)
	}
	c = secure.TLS(c)
	if c.ServerName == "" {
		c.ServerName = ofURL.ServerName
	}
	return c
}

func (s settings) hello(name string) string    { return s.prefix + ":hello:" + name }
func (s settings) down(name string) string     { return s.prefix + ":down:" + name }
func (s settings) up(name string) string       { return s.prefix + ":up:" + name }
func (s settings) started() string             { return s.prefix + ":started" }
func (s settings) claim(session string) string { return s.prefix + ":claim:" + session }
func name(vm, session string) string           { return broker.Token(vm) + ":" + session }
func (s settings) client(as string) *redis.Client {
	o := s.options
	o.ClientName = as
	return redis.NewClient(&o)
}

// subscriber is one connection that receives, and ends with it.
type subscriber struct {
	*redis.PubSub
	client *redis.Client
}

// subscriber returns one that is not connected yet. The library would connect it again by itself, and
// nobody would know that what was published meanwhile is lost: it may connect once.
func (s settings) subscriber(as string) *subscriber {
	o := s.options
	o.ClientName = as
	dial := o.Dialer
	if dial == nil {
		dial = redis.NewDialer(&o)
	}
	var dialled atomic.Bool
	o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if dialled.Swap(true) {
			return nil, broker.ErrLost
		}
		return dial(ctx, network, addr)
	}
	c := redis.NewClient(&o)
	return &subscriber{c.Subscribe(context.Background()), c}
}

// await waits until the server has taken n subscriptions, or refused one.
func (s *subscriber) await(ctx context.Context, n int) error {
	defer context.AfterFunc(ctx, s.close)()
	for range n {
		if _, err := s.ReceiveTimeout(ctx, connectTimeout); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return err
		}
	}
	return nil
}

func (s *subscriber) close() {
	s.Close()
	s.client.Close()
}

// bare is an error of the library without its name, which is ours, too.
func bare(err error) error { return broker.Bare("redis", err) }

// publish says that nobody listens where nobody does.
func publish(ctx context.Context, c *redis.Client, channel string, b []byte) error {
	n, err := c.Publish(ctx, channel, b).Result()
	switch {
	case err != nil:
		return bare(err)
	case n == 0:
		return broker.ErrGone
	}
	return nil
}
