package fault

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// Plan says how often links misbehave: each chance is between 0 and 1, per call.
type Plan struct {
	Seed uint64

	DialFails float64 // a dial fails
	Cut       float64 // a link ends before a call has any effect
	Lost      float64 // a link ends after a call took effect and before its result arrived
	Duplicate float64 // a page is handed out twice
	MaxDelay  time.Duration
}

// String names the plan so that a failure can be replayed.
func (p Plan) String() string {
	return fmt.Sprintf("seed=%d dial-fails=%g cut=%g lost=%g duplicate=%g max-delay=%s", p.Seed, p.DialFails, p.Cut, p.Lost, p.Duplicate, p.MaxDelay)
}

// ErrInjected is wrapped by every error that the wrapper makes.
var ErrInjected = errors.New("fault: injected")

// Transport is another Transport, with faults. It keeps the contract of a Link: what is lost is lost
// with the end of the link, and never silently.
type Transport struct {
	inner transport.Transport

	mu    sync.Mutex
	plan  Plan
	rng   *rand.Rand
	links map[*link]struct{}
	count Counts
}

// Counts are of the faults so far.
type Counts struct{ DialFails, Cuts, Losses, Duplicates int }

// New wraps t.
func New(t transport.Transport, p Plan) *Transport {
	return &Transport{inner: t, plan: p, rng: rand.New(rand.NewPCG(p.Seed, 1)), links: map[*link]struct{}{}}
}

// Heal stops all faults from now on.
func (t *Transport) Heal() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan = Plan{Seed: t.plan.Seed}
}

// Counts returns the faults so far.
func (t *Transport) Counts() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.count
}

// CutAll ends all open links.
func (t *Transport) CutAll() {
	t.mu.Lock()
	links := make([]*link, 0, len(t.links))
	for l := range t.links {
		links = append(links, l)
	}
	t.count.Cuts += len(links)
	t.mu.Unlock()
	for _, l := range links {
		l.cut()
	}
}

// draw says whether something of this chance happens, and counts it.
func (t *Transport) draw(chance func(Plan) float64, count func(*Counts) *int) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := chance(t.plan)
	if c <= 0 || t.rng.Float64() >= c {
		return false
	}
	*count(&t.count)++
	return true
}

func (t *Transport) delay(ctx context.Context) error {
	t.mu.Lock()
	var d time.Duration
	if t.plan.MaxDelay > 0 {
		d = time.Duration(t.rng.Int64N(int64(t.plan.MaxDelay)))
	}
	t.mu.Unlock()
	if d == 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := t.delay(ctx); err != nil {
		return nil, err
	}
	if t.draw(func(p Plan) float64 { return p.DialFails }, func(c *Counts) *int { return &c.DialFails }) {
		return nil, fmt.Errorf("%w: dial", ErrInjected)
	}
	inner, err := t.inner.Dial(ctx, hello)
	if err != nil {
		return nil, err
	}
	l := &link{t: t, inner: inner}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	t.mu.Lock()
	t.links[l] = struct{}{}
	t.mu.Unlock()
	if d, ok := inner.(transport.Direct); ok {
		return &direct{l, d}, nil
	}
	return l, nil
}

type link struct {
	t      *Transport
	inner  transport.Link
	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc

	mu       sync.Mutex
	again    []transport.Delivery
	delivers bool // pages are not for Receive
}

var errCut = fmt.Errorf("%w: cut", ErrInjected)

// cut ends the link as a broken connection does: both sides notice.
func (l *link) cut() {
	l.cancel(errCut)
	l.inner.Close()
}

// call surrounds one call of the inner link with faults.
func (l *link) call(ctx context.Context, do func(ctx context.Context) error) error {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	err := l.t.delay(both)
	if err == nil && l.cuts() {
		l.cut()
	}
	if err == nil && l.ctx.Err() == nil {
		err = do(both)
	}
	if err == nil && l.loses() {
		l.cut()
	}
	switch {
	case l.ctx.Err() != nil:
		return context.Cause(l.ctx)
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	}
	return err
}

// cuts says whether the link ends before a call has any effect, and loses after it.
func (l *link) cuts() bool {
	return l.t.draw(func(p Plan) float64 { return p.Cut }, func(c *Counts) *int { return &c.Cuts })
}

func (l *link) loses() bool {
	return l.t.draw(func(p Plan) float64 { return p.Lost }, func(c *Counts) *int { return &c.Losses })
}

func (l *link) duplicates() bool {
	return l.t.draw(func(p Plan) float64 { return p.Duplicate }, func(c *Counts) *int { return &c.Duplicates })
}

func (l *link) Receive(ctx context.Context) (page []transport.Delivery, err error) {
	l.mu.Lock()
	page, l.again = l.again, nil
	l.mu.Unlock()
	if page != nil {
		return page, nil
	}
	err = l.call(ctx, func(ctx context.Context) (err error) {
		page, err = l.inner.Receive(ctx)
		return err
	})
	if err != nil {
		return nil, err
	}
	if l.duplicates() {
		l.mu.Lock()
		l.again = page
		l.mu.Unlock()
	}
	return page, nil
}

func (l *link) Ack(ctx context.Context, acks ...ack.Ack) error {
	return l.call(ctx, func(ctx context.Context) error { return l.inner.Ack(ctx, acks...) })
}

func (l *link) Report(ctx context.Context, events ...event.Event) error {
	return l.call(ctx, func(ctx context.Context) error { return l.inner.Report(ctx, events...) })
}

func (l *link) Close() error {
	l.t.mu.Lock()
	delete(l.t.links, l)
	l.t.mu.Unlock()
	l.cancel(transport.ErrClosed)
	return l.inner.Close()
}
