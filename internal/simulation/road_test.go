package simulation_test

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// An agent notices that nothing comes, and ends its link, after deadAfter, and a controller after noticedAfter.
const (
	deadAfter    = 30 * time.Second
	noticedAfter = 40 * time.Second
)

var errRoad = errors.New("simulation: the connection has broken")

// road is a machine's way to the controller. For a while all that goes in one direction may be lost, though connections stay
// up: one that has lost something breaks when that is over, or when an end has heard nothing for too long. While the machine
// sleeps nothing comes to it; what is sent to it meanwhile comes when it wakes.
type road struct {
	to    transport.Transport
	heard func(*life, []ack.Ack, error) // told of what the controller has answered to acks, also where the answer is lost

	mu      sync.Mutex
	loses   [2]bool // by direction
	asleep  time.Time
	changed chan struct{} // closed when any of that changes
	life    *life         // of the process whose dials are to come
	links   map[*roadLink]bool
}

// The directions.
const (
	up = iota
	down
)

func newRoad(to transport.Transport, heard func(*life, []ack.Ack, error)) *road {
	return &road{to: to, heard: heard, changed: make(chan struct{}), links: map[*roadLink]bool{}}
}

// begins is for a new process on the machine.
func (r *road) begins(l *life) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = l
}

// change tells all who wait. mu is locked.
func (r *road) change() {
	close(r.changed)
	r.changed = make(chan struct{})
}

// lose begins, or ends, that what goes in a direction is lost.
func (r *road) lose(d int, on bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.loses[d] = on
	r.change()
	if !on {
		r.settle()
		return
	}
	over := r.changed
	time.AfterFunc(deadAfter, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		select {
		case <-over:
		default: // nothing has changed: no agent's ping was answered for so long
			for l := range r.links {
				l.breaks()
			}
		}
	})
}

// settle breaks the connections that have lost something, once nothing is lost any more. mu is locked.
func (r *road) settle() {
	for l := range r.links {
		if l.lost != [2]bool{} && r.loses == [2]bool{} {
			l.breaks()
		}
	}
}

func (r *road) sleep() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asleep.IsZero() {
		r.asleep = time.Now()
		r.change()
	}
}

// wake ends a sleep. A controller that has noticed it has ended the links.
func (r *road) wake() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.asleep.IsZero() {
		return
	}
	for l := range r.links {
		if time.Since(r.asleep) >= noticedAfter {
			l.breaks()
		}
	}
	r.asleep = time.Time{}
	r.change()
}

func (r *road) heal() {
	r.wake()
	r.lose(up, false)
	r.lose(down, false)
}

// awake waits until the machine is.
func (r *road) awake(ctx context.Context) error {
	for {
		r.mu.Lock()
		asleep, changed := !r.asleep.IsZero(), r.changed
		r.mu.Unlock()
		if !asleep {
			return ctx.Err()
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// vanished waits, where what goes in a direction is lost, for that to be over, and returns an error then.
func (r *road) vanished(ctx context.Context, d int) error {
	lost := false
	for {
		r.mu.Lock()
		loses, changed := r.loses[d], r.changed
		r.mu.Unlock()
		switch {
		case loses:
			lost = true
		case lost:
			return errRoad
		default:
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Dial implements transport.Transport.
func (r *road) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	if err := errors.Join(r.awake(ctx), r.vanished(ctx, up)); err != nil {
		return nil, err
	}
	r.mu.Lock()
	life := r.life
	r.mu.Unlock()
	l := &roadLink{r: r, life: life}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	l.end.ctx, l.end.passes = l.ctx, l.answers
	inner, err := r.to.Dial(context.WithValue(ctx, farEndKey{}, &l.end), h)
	l.inner = inner
	if lost := errors.Join(r.vanished(ctx, down), r.awake(ctx)); lost != nil {
		if err == nil {
			inner.Close()
		}
		l.cancel(lost)
		return nil, lost
	}
	if err != nil {
		l.cancel(err)
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.links[l] = true
	return l, nil
}

// roadLink is a connection by a road.
type roadLink struct {
	r      *road
	life   *life
	inner  transport.Link
	end    farEnd
	ctx    context.Context // ends with the link; its cause says why
	cancel context.CancelCauseFunc

	// guarded by road.mu
	lost [2]bool // something that was on its way, by direction
}

// breaks ends the link for the agent, and for the controller when it can notice. r.mu is locked.
func (l *roadLink) breaks() {
	l.cancel(errRoad)
	l.closes()
}

// closes has the controller's end closed when it can notice that the agent's is. r.mu is locked.
func (l *roadLink) closes() {
	delete(l.r.links, l)
	if l.r.loses[up] {
		time.AfterFunc(noticedAfter, func() { l.inner.Close() })
		return
	}
	l.inner.Close()
}

// passes says whether what goes in a direction now arrives. What is lost is lost with the end of the link.
func (l *roadLink) passes(d int) bool {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	l.lost[d] = l.lost[d] || l.r.loses[d]
	return !l.lost[d]
}

// answers says whether the machine answers what comes by the link.
func (l *roadLink) answers() bool {
	l.r.mu.Lock()
	asleep := !l.r.asleep.IsZero()
	l.r.mu.Unlock()
	return !asleep && l.passes(down) && l.passes(up)
}

// both returns a context that ends with ctx and with the link.
func (l *roadLink) both(ctx context.Context) (context.Context, func()) {
	both, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(l.ctx, cancel)
	return both, func() { stop(); cancel() }
}

// over is why a call whose context has ended fails.
func (l *roadLink) over(ctx context.Context) error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	return ctx.Err()
}

func (l *roadLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	both, cancel := l.both(ctx)
	defer cancel()
	for {
		page, err := l.inner.Receive(both)
		if l.ctx.Err() != nil || err != nil && ctx.Err() != nil {
			return nil, l.over(ctx)
		}
		passes := l.passes(down)
		if passes {
			if l.r.awake(both) != nil {
				return nil, l.over(ctx)
			}
			l.end.got.Add(uint64(len(page)))
			return page, err
		}
		if err != nil { // the end is lost, too
			<-both.Done()
			return nil, l.over(ctx)
		}
	}
}

// call is one that is answered.
func (l *roadLink) call(ctx context.Context, do func(ctx context.Context) error) error {
	both, cancel := l.both(ctx)
	defer cancel()
	if l.r.awake(both) != nil {
		return l.over(ctx)
	}
	if !l.passes(up) {
		<-both.Done()
		return l.over(ctx)
	}
	err := do(both)
	if l.ctx.Err() != nil || err != nil && ctx.Err() != nil {
		return l.over(ctx)
	}
	if !l.passes(down) {
		<-both.Done()
		return l.over(ctx)
	}
	if l.r.awake(both) != nil {
		return l.over(ctx)
	}
	return err
}

func (l *roadLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	return l.call(ctx, func(ctx context.Context) error {
		err := l.inner.Ack(ctx, acks...)
		l.r.heard(l.life, acks, err)
		return err
	})
}

func (l *roadLink) Report(ctx context.Context, events ...event.Event) error {
	return l.call(ctx, func(ctx context.Context) error { return l.inner.Report(ctx, events...) })
}

func (l *roadLink) Close() error {
	l.r.mu.Lock()
	defer l.r.mu.Unlock()
	if l.ctx.Err() == nil {
		l.cancel(transport.ErrClosed)
		l.closes()
	}
	return nil
}
