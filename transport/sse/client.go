package sse

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

// preamble begins every stream of ours.
const preamble = ": miglink"

// preambleTime is how long it may take: it is sent at once.
const preambleTime = 10 * time.Second

// minAlive is the shortest promise that a controller takes; a link may do better than it promises.
const minAlive = time.Second

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
	// Keepalive is how often the controller hears of the VM at least. A stream that is silent for
	// twice as long is dead. Default: 15 s, as the handler's.
	Keepalive time.Duration
}

// Transport dials links over SSE. It is safe for concurrent use.
type Transport struct {
	base *url.URL
	o    Options
	own  bool // o.Client is nobody else's
	up   *uplink.Transport
}

// New returns a Transport to the controller at url, as in transport.Config.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.Base(url, secure.Use{Token: o.Token != nil, Insecure: o.Insecure})
	if err != nil {
		return nil, err
	}
	own := o.Client == nil
	if own {
		o.Client = httplink.NewClient(nil)
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	up, err := uplink.New(url, uplink.Options{Client: o.Client, Token: o.Token, Insecure: o.Insecure, Log: o.Log})
	if err != nil {
		return nil, err
	}
	return &Transport{base: base, o: o, own: own, up: up}, nil
}

// Open is New for a transport.Registry.
func Open(c transport.Config) (transport.Transport, error) {
	if _, err := httplink.Base(c.URL, httplink.UseOf(c)); err != nil {
		return nil, err
	}
	t, err := New(c.URL, Options{Client: httplink.NewClient(c.TLS), Token: c.Token, Insecure: c.Insecure, Log: c.Log})
	if err != nil {
		return nil, err
	}
	t.own = true
	return t, nil
}

// Dial opens a stream and waits for its first byte, which a proxy that buffers would hold back.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if hello.Uplink {
		return t.up.Dial(ctx, hello)
	}
	up, err := t.up.Attach(hello)
	if err != nil {
		return nil, err
	}
	hello.Alive = max(t.o.Keepalive, minAlive)
	l := newLink(up, t.o.Keepalive)
	if err := t.open(ctx, hello, l); err != nil {
		l.cancel(transport.ErrClosed)
		up.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	if t.own {
		l.client = t.o.Client
	}
	l.start(hello.Window)
	return l, nil
}

func (t *Transport) open(ctx context.Context, hello transport.Hello, l *link) error {
	defer context.AfterFunc(ctx, func() { l.cancel(ctx.Err()) })()
	u := httplink.VMURL(t.base, hello.VM, "commands", "stream")
	after := hello.After
	hello.After = ""
	u.RawQuery = httplink.Query(hello).Encode()
	req, err := http.NewRequestWithContext(l.ctx, http.MethodGet, u.String(), http.NoBody)
	if err == nil {
		err = httplink.Authorize(ctx, req.Header, t.o.Token)
	}
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "text/event-stream")
	if after != "" {
		req.Header.Set("Last-Event-ID", string(after))
	}
	resp, err := t.o.Client.Do(req)
	if err != nil {
		return fmt.Errorf("sse: %w", httplink.Cause(err))
	}
	if resp.StatusCode != http.StatusOK {
		defer httplink.Drain(resp.Body)
		return httplink.ReadError(resp)
	}
	if err := httplink.CheckStream(resp); err != nil {
		resp.Body.Close()
		return err
	}
	l.listen(resp.Body)
	ours, err := l.events.begins(preamble)
	switch {
	case err == nil && !ours:
		resp.Body.Close()
		return httplink.Foreign(resp, "the stream is of something else")
	case err != nil:
		resp.Body.Close()
		if errors.Is(context.Cause(l.ctx), errSilent) {
			return errors.New("sse: the stream opened but nothing came: something in between holds it back")
		}
		return fmt.Errorf("sse: %w", err)
	}
	return nil
}
