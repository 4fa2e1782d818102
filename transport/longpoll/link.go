package longpoll

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

// link polls for commands; acks go with the next poll where that is about to be sent, and by the embedded uplink
// where it is not, as events do.
type link struct {
	*uplink.Link
	t      *Transport
	hello  transport.Hello // After moves on with each answer
	first  []transport.Delivery
	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc

	polls  atomic.Int64 // that were answered
	direct bool         // somebody wants to be called
	loop   inbox.Loop

	mu    sync.Mutex
	soon  bool      // a poll is sent when what came has been taken
	batch []ack.Ack // to go with it
	calls []call    // about them
}

// call is one call of Post: n of the acks that go with a poll.
type call struct {
	n    int
	done func(error)
}

func newLink(t *Transport, up *uplink.Link, hello transport.Hello) *link {
	l := &link{Link: up, t: t, hello: hello}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	return l
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if !l.direct {
		return l.receive(ctx)
	}
	select {
	case <-l.ctx.Done():
		return nil, context.Cause(l.ctx)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// receive polls until something comes.
func (l *link) receive(ctx context.Context) ([]transport.Delivery, error) {
	if got := l.first; len(got) > 0 {
		l.first = nil
		return got, nil
	}
	for {
		began := time.Now()
		p, err := l.poll(ctx, l.t.o.Wait.String(), nil)
		if err != nil || len(p.Commands) > 0 {
			return p.Commands, err
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

// Deliver implements transport.Direct.
func (l *link) Deliver(take func([]transport.Delivery)) {
	l.direct = true
	l.loop.Set(l.next, func(page []transport.Delivery) error {
		take(page)
		return nil
	}, l.over)
	l.loop.Begin()
}

// ReadOn implements transport.Direct.
func (l *link) ReadOn() { l.loop.ReadOn() }

// Post implements transport.Direct.
func (l *link) Post(acks []ack.Ack, done func(error)) {
	if !l.rides(acks, done) {
		l.Link.Post(acks, done)
	}
}

// rides has acks go with the next poll, where that is soon and has room for them.
func (l *link) rides(acks []ack.Ack, done func(error)) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.soon || l.t.getsOnly.Load() || len(acks) == 0 {
		return false
	}
	all := append(l.batch, acks...)
	if ack.Batch(all) < len(all) {
		return false
	}
	l.batch = all
	l.calls = append(l.calls, call{len(acks), done})
	return true
}

// next brings what is to go with a poll, and returns what comes.
func (l *link) next() ([]transport.Delivery, error) {
	l.mu.Lock()
	l.soon = false
	acks, calls := l.batch, l.calls
	l.batch, l.calls = nil, nil
	l.mu.Unlock()
	var got []transport.Delivery
	var err error
	if len(acks) > 0 {
		got, err = l.bring(acks, calls)
	} else {
		got, err = l.receive(l.ctx)
	}
	if err == nil && len(got) > 0 {
		l.mu.Lock()
		l.soon = true
		l.mu.Unlock()
	}
	return got, err
}

// bring polls with acks, and has their calls answered.
func (l *link) bring(acks []ack.Ack, calls []call) ([]transport.Delivery, error) {
	p, err := l.poll(l.ctx, l.t.o.Wait.String(), acks)
	if foreign := (*transport.ForeignError)(nil); errors.As(err, &foreign) { // who gave it has recorded nothing
		if slices.Contains(unknown, foreign.Status) {
			l.t.getsOnly.Store(true)
		}
		for _, c := range calls {
			l.Link.Post(acks[:c.n], c.done)
			acks = acks[c.n:]
		}
		return nil, nil
	}
	var errs transport.AckErrors
	if err == nil {
		errs, err = p.answer(len(acks))
	}
	for _, c := range calls {
		switch {
		case err != nil:
			c.done(err)
		case errs == nil:
			c.done(nil)
		default:
			c.done(errs[:c.n].Of())
			errs = errs[c.n:]
		}
	}
	return p.Commands, err
}

// answer is what an answer says of n acks.
func (p *page) answer(n int) (transport.AckErrors, error) {
	errs, err := httplink.AckErrors(p.Refused, n)
	if err != nil {
		return nil, fmt.Errorf("longpoll: %w", err)
	}
	return errs, nil
}

// over is the end of polling.
func (l *link) over(err error) { l.cancel(err) }

// poll sends one request. An answer that does not arrive moves no cursor: it is given again.
func (l *link) poll(ctx context.Context, wait string, acks []ack.Ack) (page, error) {
	limit, cancel := context.WithTimeout(ctx, l.t.o.Wait+l.t.o.Grace)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	p, err := l.ask(limit, wait, acks)
	switch {
	case err == nil:
	case l.ctx.Err() != nil:
		return page{}, context.Cause(l.ctx)
	case ctx.Err() != nil:
		return page{}, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		return page{}, fmt.Errorf("longpoll: %w: no answer within %s of the end of the wait", transport.ErrSilent, l.t.o.Grace)
	default:
		return page{}, err
	}
	if p.Cursor.Valid() {
		l.hello.After = p.Cursor
	}
	l.polls.Add(1)
	return p, nil
}

// Proven implements transport.Prover: the first poll was the dial's.
func (l *link) Proven() bool { return l.polls.Load() > 1 }

func (l *link) ask(ctx context.Context, wait string, acks []ack.Ack) (page, error) {
	u := httplink.VMURL(l.t.base, l.hello.VM, "commands")
	q := httplink.Query(l.hello)
	q.Set("wait", wait)
	q.Set("after", string(l.hello.After)) // also where it is empty: this client knows cursors
	dials := l.polls.Load() == 0
	if !dials {
		q.Set("answered", "true")
	}
	// Whoever dials again with a cursor may have acks of before that are not recorded, which the link does not know of yet.
	if dials && l.hello.After != "" || l.HasUnsaid() {
		q.Set("unsaid", "true")
	}
	u.RawQuery = q.Encode()
	req, err := request(ctx, u.String(), acks)
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
	p, err := readPage(resp)
	switch {
	case err != nil:
		return page{}, err
	case p.VM != l.hello.VM:
		return page{}, httplink.Foreign(resp, fmt.Sprintf("it is no page of commands of %q", l.hello.VM))
	case p.Recorded != len(acks):
		return page{}, httplink.Foreign(resp, fmt.Sprintf("it says that %d acks of %d are recorded", p.Recorded, len(acks)))
	}
	return p, nil
}

// unknown are answers of something in between that lets through only what it knows.
var unknown = []int{http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented}

// request is a POST with acks, or a GET where there are none.
func request(ctx context.Context, url string, acks []ack.Ack) (*http.Request, error) {
	if len(acks) == 0 {
		return http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	}
	body, err := wire.Acks(nil, acks)
	if err != nil {
		return nil, transport.Errorf(transport.CodeInvalid, "what is to be sent is not JSON")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/json")
	}
	return req, err
}

func readPage(resp *http.Response) (page, error) {
	if err := httplink.CheckJSON(resp); err != nil {
		return page{}, err
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return page{}, fmt.Errorf("longpoll: %w", err)
	}
	if len(b) > maxAnswer {
		return page{}, fmt.Errorf("longpoll: the answer is larger than %d bytes", maxAnswer)
	}
	p, err := decodePage(b)
	if err != nil {
		return p, httplink.Foreign(resp, "it is no page of commands")
	}
	for i := range p.Commands {
		if err := p.Commands[i].Validate(); err != nil {
			return p, fmt.Errorf("longpoll: %w", err)
		}
	}
	return p, nil
}

// Close implements transport.Link.
func (l *link) Close() error {
	l.cancel(transport.ErrClosed)
	if l.direct {
		l.loop.End()
	}
	return l.Link.Close()
}
