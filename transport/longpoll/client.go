package longpoll

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/internal/httplink"
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

	getsOnly atomic.Bool // the controller, or what is in between, takes no acks with a poll: it is not asked again
}

// New returns a Transport to the controller at url, as in transport.Config.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.ParseBase(url)
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
	up, err := uplink.New(url, uplink.Options{Client: o.Client, Token: o.Token})
	if err != nil {
		return nil, err
	}
	return &Transport{base: base, o: o, up: up}, nil
}

// Open is New for a transport.Registry.
func Open(c transport.Config) (transport.Transport, error) {
	return New(c.URL, Options{Client: httplink.NewClient(c.TLS), Token: c.Token})
}

// Dial polls once, for what is there already; Receive hands it out.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if hello.Uplink {
		return t.up.Dial(ctx, hello)
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
