package longpoll

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

const (
	defaultWait  = 25 * time.Second // under what proxies cut off, most often 30 s or 60 s
	defaultGrace = 15 * time.Second
	maxAnswer    = 8 << 20     // bytes
	firstWait    = "1ms"       // Dial only asks what is there
	minEvery     = time.Second // between polls that bring nothing
)

// Options are optional.
type Options struct {
	// Client sends the requests. Default: one of the package's own.
	Client *http.Client
	// Token is asked for a bearer token before each request. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config.
	Insecure bool
	// Log gets a warning when something in between answers a POST in the controller's place. Default: none.
	Log *slog.Logger
	// Wait is how long the controller may hold a poll. Default: 25 s.
	Wait time.Duration
	// Grace is how long an answer may take beyond Wait; then the controller is dead. Default: 15 s.
	Grace time.Duration
}

// Transport dials links by long poll. It is safe for concurrent use.
type Transport struct {
	base *url.URL
	o    Options
	up   *uplink.Transport

	getsOnly atomic.Bool // something in between lets no poll pass that brings acks: none is sent again
}

// New returns a Transport to the controller at url, as in transport.Config.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.Base(url, secure.Use{Token: o.Token != nil, Insecure: o.Insecure})
	if err != nil {
		return nil, err
	}
	if o.Client == nil {
		o.Client = httplink.NewClient(nil)
	}
	if o.Wait == 0 {
		o.Wait = defaultWait
	}
	if o.Grace == 0 {
		o.Grace = defaultGrace
	}
	if o.Wait < time.Millisecond || o.Wait > maxWait {
		return nil, fmt.Errorf("longpoll: a wait of %s is not within 1ms and %s", o.Wait, maxWait)
	}
	up, err := uplink.New(url, uplink.Options{Client: o.Client, Token: o.Token, Insecure: o.Insecure, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return &Transport{base: base, o: o, up: up}, nil
}

// Open is New for a transport.Registry.
func Open(c transport.Config) (transport.Transport, error) {
	if _, err := httplink.Base(c.URL, httplink.UseOf(c)); err != nil {
		return nil, err
	}
	return New(c.URL, Options{Client: httplink.NewClient(c.TLS), Token: c.Token, Insecure: c.Insecure, Log: c.Log})
}

// Dial polls once, for what is there already; Receive hands it out.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if hello.Uplink {
		return t.up.Dial(ctx, hello)
	}
	if hello.Via != "" {
		hello.Time = time.Time{} // each poll is a hello, and this one would be older each time
	}
	up, err := t.up.Attach(hello)
	if err != nil {
		return nil, err
	}
	l := newLink(t, up, hello)
	first, err := l.poll(ctx, firstWait, nil)
	if err != nil {
		l.Close()
		return nil, err
	}
	l.first = first.Commands
	return l, nil
}
