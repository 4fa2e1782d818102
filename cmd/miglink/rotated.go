package main

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"strings"
	"sync"

	"github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/transport"
)

// rotated is a broker's URL in --broker-file, which is read again for each connection, since its password may have changed.
// While the file cannot be read, or holds something else, what it held before stays in use. A nil *rotated changes nothing.
type rotated struct {
	file string
	read func() (string, error)
	log  *slog.Logger

	mu      sync.Mutex
	url     string
	trouble string // that was logged
}

// now is the URL as it is now.
func (r *rotated) now() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	url, err := r.read()
	switch {
	case err == nil && url != "":
		if url != r.url {
			r.log.Info("the broker's URL has changed: new connections use it", "broker_file", r.file)
		}
		r.url, r.trouble = url, ""
	case err == nil:
		r.complain("it has no URL of this broker any more")
	default:
		r.complain(err.Error())
	}
	return r.url
}

func (r *rotated) complain(trouble string) {
	if r.trouble != trouble {
		r.log.Error("--broker-file cannot be used: what was read before stays in use", "broker_file", r.file, "error", trouble)
	}
	r.trouble = trouble
}

// redis has each connection of a controller log in with the password as it is then.
func (r *rotated) redis(o *redis.Options) {
	if r == nil {
		return
	}
	o.CredentialsProviderContext = func(context.Context) (name, password string, err error) {
		u, err := url.Parse(r.now())
		if err != nil {
			return "", "", errNoURL
		}
		password, _ = u.User.Password()
		return u.User.Username(), password, nil
	}
}

// amqp is redis for RabbitMQ.
func (r *rotated) amqp(c *amqp.Config) {
	if r == nil {
		return
	}
	if u, err := amqp.ParseURI(r.now()); err == nil && len(u.AuthMechanism) == 0 {
		c.SASL = []amqp.Authentication{u.PlainAuth()}
	}
}

// nats is redis for NATS. A server that others of its cluster have told of has the user of the first.
func (r *rotated) nats(o *nats.Options) error {
	if r == nil {
		return nil
	}
	users := map[string]*url.Userinfo{}
	var first *url.Userinfo
	for i, server := range strings.Split(r.now(), ",") {
		u, err := url.Parse(strings.TrimSpace(server))
		if err != nil {
			return errNoURL
		}
		if i == 0 {
			first = u.User
		}
		users[u.Host] = u.User
	}
	for i, server := range o.Servers {
		u, err := url.Parse(server)
		if err != nil {
			return errNoURL
		}
		of, known := users[u.Host]
		if !known {
			of = first
		}
		u.User = of
		o.Servers[i] = u.String()
	}
	return nil
}

// errNoURL does not show what is no URL: it may hold a password.
var errNoURL = errors.New("--broker-file: not a URL")

// rotatedTransport is an agent's transport to the broker at a URL that may change, opened anew when it has.
type rotatedTransport struct {
	urls *rotated
	open func(url string) (transport.Transport, error)

	mu     sync.Mutex
	url    string
	opened transport.Transport
}

// Dial implements transport.Transport.
func (t *rotatedTransport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	return t.current().Dial(ctx, hello)
}

func (t *rotatedTransport) current() transport.Transport {
	t.mu.Lock()
	defer t.mu.Unlock()
	if url := t.urls.now(); url != t.url {
		t.url = url
		if opened, err := t.open(url); err != nil {
			t.urls.log.Error("--broker-file cannot be used: what was read before stays in use", "broker_file", t.urls.file, "error", err)
		} else {
			t.opened = opened
		}
	}
	return t.opened
}
