package longpoll

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
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
	l := &link{Link: up, t: t, hello: hello}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if l.first, err = l.poll(ctx, firstWait); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// link polls for commands; acks and events go by the embedded uplink.
type link struct {
	*uplink.Link
	t      *Transport
	hello  transport.Hello // After moves on with each answer
	first  []transport.Delivery
	ctx    context.Context
	cancel context.CancelFunc
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if got := l.first; len(got) > 0 {
		l.first = nil
		return got, nil
	}
	for {
		began := time.Now()
		got, err := l.poll(ctx, l.t.o.Wait.String())
		if err != nil || len(got) > 0 {
			return got, err
		}
		if err := l.pause(ctx, min(l.t.o.Wait, minEvery)-time.Since(began)); err != nil {
			return nil, err
		}
	}
}

// pause keeps a controller that does not hold polls, or a cache before it, from being asked without
// end.
func (l *link) pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return ctx.Err()
	case <-ctx.Done():
		return ctx.Err()
	case <-l.ctx.Done():
		return transport.ErrClosed
	}
}

// poll sends one GET. An answer that does not arrive moves no cursor: it is given again.
func (l *link) poll(ctx context.Context, wait string) ([]transport.Delivery, error) {
	limit, cancel := context.WithTimeout(ctx, l.t.o.Wait+l.t.o.Grace)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	p, err := l.get(limit, wait)
	switch {
	case err == nil:
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case l.ctx.Err() != nil:
		return nil, transport.ErrClosed
	case errors.Is(err, context.DeadlineExceeded):
		return nil, fmt.Errorf("longpoll: no answer within %s of the end of the wait", l.t.o.Grace)
	default:
		return nil, err
	}
	if p.Cursor.Valid() {
		l.hello.After = p.Cursor
	}
	return p.Commands, nil
}

func (l *link) get(ctx context.Context, wait string) (page, error) {
	u := httplink.VMURL(l.t.base, l.hello.VM, "commands")
	q := httplink.Query(l.hello)
	q.Set("wait", wait)
	u.RawQuery = q.Encode()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err == nil {
		err = httplink.Authorize(ctx, req.Header, l.t.o.Token)
	}
	if err != nil {
		return page{}, err
	}
	resp, err := l.t.o.Client.Do(req)
	if err != nil {
		return page{}, fmt.Errorf("longpoll: %w", httplink.Cause(err))
	}
	defer httplink.Drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return page{}, httplink.ReadError(resp)
	}
	return readPage(resp.Body)
}

func readPage(r io.Reader) (page, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxAnswer+1))
	if err != nil {
		return page{}, fmt.Errorf("longpoll: %w", err)
	}
	if len(b) > maxAnswer {
		return page{}, fmt.Errorf("longpoll: the answer is larger than %d bytes", maxAnswer)
	}
	p, err := decodePage(b)
	if err != nil {
		return p, errors.New("longpoll: the answer is not that of a controller")
	}
	for i := range p.Commands {
		if err := p.Commands[i].Validate(); err != nil {
			return p, fmt.Errorf("longpoll: %w", err)
		}
	}
	return p, nil
}

func (l *link) Close() error {
	l.cancel()
	return l.Link.Close()
}
