package uplink

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/internal/outlet"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// postTimeout bounds one POST: what has not answered by then is dead.
const postTimeout = 30 * time.Second

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
}

// Transport dials links for acks and events only.
type Transport struct {
	base   *url.URL
	client *http.Client
	token  transport.TokenSource
	log    *peerlog.Log
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
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Transport{base: base, client: o.Client, token: o.Token, log: peerlog.New(o.Log)}, nil
}

// Open is New for a transport.Registry.
func Open(c transport.Config) (transport.Transport, error) {
	if _, err := httplink.Base(c.URL, httplink.UseOf(c)); err != nil {
		return nil, err
	}
	return New(c.URL, Options{Client: httplink.NewClient(c.TLS), Token: c.Token, Insecure: c.Insecure, Log: c.Log})
}

// Dial opens an uplink, and says so to the controller. It refuses a hello that wants commands.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if !hello.Uplink {
		return nil, transport.Errorf(transport.CodeInvalid, "an uplink carries no commands; use it as the up side of a Split")
	}
	l, err := t.Attach(hello)
	if err != nil {
		return nil, err
	}
	if err := l.reportAll(ctx, nil, l.report); err != nil { // once: another way may be better
		l.Close()
		return nil, err
	}
	return l, nil
}

// Attach is Dial without a word to the controller, for a link whose commands come another way.
func (t *Transport) Attach(hello transport.Hello) (*Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	query := ""
	if hello.Instance != "" {
		query = url.Values{"instance": {hello.Instance}}.Encode()
	}
	endpoint := func(elem ...string) string {
		u := httplink.VMURL(t.base, hello.VM, elem...)
		u.RawQuery = query
		return u.String()
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &Link{t: t, acks: endpoint("commands", "ack"), events: endpoint("events"), ctx: ctx, cancel: cancel}
	l.crew.Engage(&l.mu, ctx.Done(), func(error) { cancel() })
	l.poster.Do = l.post
	return l, nil
}

// Link sends acks and events by POST. While one POST of acks is under way, further ones wait and go
// together in the next.
type Link struct {
	t            *Transport
	acks, events string // URLs
	ctx          context.Context
	cancel       context.CancelFunc

	crew   outlet.Crew
	poster outlet.Hand

	mu      sync.Mutex
	queue   []*call
	posting bool // calls that are not in the queue any more are not answered
	others  func() bool
}

// Unsaid implements transport.Voucher, for the links that commands come by.
func (l *Link) Unsaid(others func() bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.others = others
}

// HasUnsaid says whether there are acks that are not recorded yet.
func (l *Link) HasUnsaid() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.posting || len(l.queue) > 0 || l.others != nil && l.others()
}

// call is what one call of Ack says that fits one POST.
type call struct {
	acks []ack.Ack
	done func(error)
}

// Receive blocks until ctx or the link ends: there are no commands on an uplink.
func (l *Link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-l.ctx.Done():
		return nil, transport.ErrClosed
	}
}

// Ack implements transport.Link.
func (l *Link) Ack(ctx context.Context, acks ...ack.Ack) error {
	if err := ctx.Err(); err != nil || len(acks) == 0 {
		return err
	}
	done := make(chan error, 1)
	l.Post(slices.Clone(acks), func(err error) { done <- err })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Post is Ack without waiting, as in transport.Direct.
func (l *Link) Post(acks []ack.Ack, done func(error)) {
	if len(acks) == 0 {
		done(nil)
		return
	}
	l.mu.Lock()
	if l.ctx.Err() != nil {
		l.mu.Unlock()
		done(transport.ErrClosed)
		return
	}
	if n := ack.Batch(acks); n == len(acks) {
		l.queue = append(l.queue, &call{acks, done})
	} else {
		l.queueParts(acks, done)
	}
	l.crew.Work(&l.poster)
	l.mu.Unlock()
}

// queueParts is for acks that do not fit one POST. mu is locked.
func (l *Link) queueParts(acks []ack.Ack, done func(error)) {
	all := &inbox.Parts{Done: done}
	for rest := acks; len(rest) > 0; {
		n := ack.Batch(rest)
		part, last := rest[:n], n == len(rest)
		l.queue = append(l.queue, &call{part, func(err error) { all.Answer(err, n, last) }})
		rest = rest[n:]
	}
}

// post sends what is queued until there is nothing.
func (l *Link) post() {
	for {
		calls := l.next()
		if calls == nil {
			return
		}
		var all []ack.Ack
		for _, c := range calls {
			all = append(all, c.acks...)
		}
		err := l.record(all)
		if err != nil && l.ctx.Err() != nil {
			err = transport.ErrClosed
		}
		from := 0
		for _, c := range calls {
			c.done(part(err, from, len(c.acks)))
			from += len(c.acks)
		}
	}
}

// next takes as many calls as fit one POST.
func (l *Link) next() []*call {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.posting = len(l.queue) > 0
	n, acks, size := 0, 0, 0
	for ; n < len(l.queue); n++ {
		acks += len(l.queue[n].acks)
		for _, a := range l.queue[n].acks {
			size += a.Size()
		}
		if n > 0 && (acks > ack.MaxBatch || size > ack.MaxBatchBytes) {
			break
		}
	}
	if n == 0 {
		return nil
	}
	calls := l.queue[:n:n]
	l.queue = l.queue[n:]
	return calls
}

// part is what an error of a POST means for n of its acks.
func part(err error, from, n int) error {
	errs, ok := err.(transport.AckErrors) //nolint:errorlint // record returns it unwrapped
	if !ok {
		return err
	}
	return errs[from : from+n].Of()
}

func (l *Link) postAcks(acks []ack.Ack) error {
	body, err := wire.Acks(nil, acks)
	if err != nil {
		return errNoJSON
	}
	resp, err := l.do(l.ctx, l.acks, body, false)
	if err != nil {
		return err
	}
	defer httplink.Drain(resp.Body)
	if resp.StatusCode == http.StatusOK {
		if r, err := httplink.ReadReceipt(resp); err != nil {
			return err
		} else if r.Recorded == nil || *r.Recorded != len(acks) {
			return httplink.Foreign(resp, fmt.Sprintf("it does not say that %d acks are recorded", len(acks)))
		}
		return nil
	}
	p, err := httplink.ReadProblem(resp)
	switch {
	case err != nil:
		return err
	case p.Code != httplink.CodeAcksRefused:
		return p.Err()
	}
	errs, err := httplink.AckErrors(p.Refused, len(acks))
	if err != nil {
		return fmt.Errorf("uplink: %w", err)
	}
	return errs.Of()
}

// Report implements transport.Link.
func (l *Link) Report(ctx context.Context, events ...event.Event) error {
	return l.reportAll(ctx, events, l.deliver)
}

// SignOfLife is Report without events, of a VM that has nothing to say for a while either. It makes one attempt. Unless after
// is nil the link that commands come by has passed something, the commands up to there included, and it says so: not as long
// as there are acks that are not recorded, since they may be about these.
func (l *Link) SignOfLife(ctx context.Context, after *transport.Cursor) error {
	to := l.events
	if after != nil && !l.HasUnsaid() {
		u, err := url.Parse(to)
		if err != nil {
			return err
		}
		q := u.Query()
		q.Set("after", string(*after))
		u.RawQuery = q.Encode()
		to = u.String()
	}
	return l.reportAll(ctx, nil, func(ctx context.Context, none []event.Event) error { return l.postEvents(ctx, to, none, true) })
}

func (l *Link) reportAll(ctx context.Context, events []event.Event, report func(context.Context, []event.Event) error) error {
	if l.ctx.Err() != nil {
		return transport.ErrClosed
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	for from := 0; ; {
		part := append([]event.Event{}, events[from:from+event.Batch(events[from:])]...)
		if err := report(ctx, part); err != nil {
			if l.ctx.Err() != nil {
				return transport.ErrClosed
			}
			return err
		}
		if from += len(part); from >= len(events) {
			return nil
		}
	}
}

// deliver is record for events. One that is too large by itself is refused.
func (l *Link) deliver(ctx context.Context, events []event.Event) error {
	err := l.persist(ctx, func() error { return l.report(ctx, events) })
	switch half := len(events) / 2; {
	case !tooLarge(err):
		return err
	case half == 0:
		return transport.Errorf(transport.CodeTooLarge, "an event does not pass: %s", err)
	default:
		if err := l.deliver(ctx, events[:half]); err != nil {
			return err
		}
		return l.deliver(ctx, events[half:])
	}
}

func (l *Link) report(ctx context.Context, events []event.Event) error {
	return l.postEvents(ctx, l.events, events, false)
}

func (l *Link) postEvents(ctx context.Context, to string, events []event.Event, rest bool) error {
	body, err := wirejson.Marshal(events)
	if err != nil {
		return errNoJSON
	}
	resp, err := l.do(ctx, to, body, rest)
	if err != nil {
		return err
	}
	defer httplink.Drain(resp.Body)
	if resp.StatusCode != http.StatusOK {
		return httplink.ReadError(resp)
	}
	r, err := httplink.ReadReceipt(resp)
	if err == nil && (r.Taken == nil || *r.Taken != len(events)) {
		err = httplink.Foreign(resp, fmt.Sprintf("it does not say that %d events are taken", len(events)))
	}
	return err
}

var errNoJSON = transport.Errorf(transport.CodeInvalid, "what is to be sent is not JSON")

// do sends one POST, after which the connection may rest. Its answer's body is read within the same time limit.
func (l *Link) do(ctx context.Context, url string, body []byte, rest bool) (*http.Response, error) {
	ctx, cancel := context.WithTimeout(ctx, postTimeout)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
		if rest {
			req.Header.Set(restHeader, "1")
		}
		err = httplink.Authorize(ctx, req.Header, l.t.token)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := l.t.client.Do(req)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("uplink: %w", httplink.Cause(err))
	}
	resp.Body = &canceling{resp.Body, cancel}
	return resp, nil
}

// Close implements transport.Link.
func (l *Link) Close() error {
	l.mu.Lock()
	l.cancel()
	l.mu.Unlock()
	l.crew.Wait()
	l.post() // which tells those who wait
	return nil
}
