package framed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// minAhead is how many commands may wait for Receive at least, whatever the window: urgent ones do
// not count in it.
const minAhead = 1024

// DialOptions are optional.
type DialOptions struct {
	// Token goes with the hello, for a pipe that has no other place for it.
	Token string
}

// Dial says hello over p and returns the link, which closes p at its end. If it fails, p is closed.
func Dial(ctx context.Context, p Pipe, hello transport.Hello, o DialOptions) (transport.Link, error) {
	l := &link{end: newEnd(p), arrived: make(chan struct{}, 1), ahead: max(4*hello.Window, minAhead)}
	welcome, err := l.greet(ctx, &Hello{Version: Version, Token: o.Token, Hello: hello})
	if err != nil {
		l.mu.Lock()
		l.finish(err)
		l.mu.Unlock()
		return nil, err
	}
	keepalive := defaultKeepalive
	if s := welcome.Keepalive; s >= 0.001 {
		keepalive = time.Duration(min(s, maxKeepalive.Seconds()) * float64(time.Second))
	}
	l.watch(keepalive, keepalive)
	l.reading.Add(1)
	return l, nil
}

// begin has the link read, from the first call on: who wants to be called has said so by then.
func (l *link) begin() { l.beginning.Do(func() { go l.read() }) }

func (l *link) greet(ctx context.Context, hello *Hello) (*Welcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // and no hello is said, which might end the VM's other link
	}
	unwatch := context.AfterFunc(ctx, func() { l.pipe.Close() })
	err := l.send(&Frame{Hello: hello})
	var f *Frame
	if err == nil {
		f, err = l.recvAny()
	}
	if !unwatch() {
		return nil, ctx.Err()
	}
	switch {
	case err != nil:
		return nil, err
	case f.Welcome == nil:
		return nil, errors.New("framed: the controller's first frame is no welcome")
	case f.Welcome.Version < 1 || f.Welcome.Version > Version:
		return nil, fmt.Errorf("framed: the controller wants to speak version %d, this agent speaks up to %d", f.Welcome.Version, Version)
	}
	return f.Welcome, nil
}

// link is the agent's half.
type link struct {
	*end
	arrived chan struct{} // there are deliveries; holds one
	ahead   int

	beginning sync.Once
	reading   sync.WaitGroup             // of one, which a goroutine that stops to read passes on to the next
	take      func([]transport.Delivery) // nil: Receive has them

	// guarded by end.mu
	deliveries []transport.Delivery
	turn       int          // counts the calls of take
	lent       int          // the turn whose goroutine comes back to read
	lastBytes  int          // bounds the acks in the last frame of the queue that has any
	acks       []*ackCall   // not answered yet, in the order of their frames
	events     []*eventCall // likewise
}

// ackCall is one call of Ack or Post: n acks of a frame, beginning at from.
type ackCall struct {
	frame   *Frame
	from, n int
	done    func(error)
	err     error // the answer
}

type eventCall struct {
	frame *Frame
	done  chan error // holds one
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	l.begin()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if page := l.arrivals(); len(page) > 0 {
			return page, nil
		}
		select {
		case <-l.arrived:
		case <-l.done:
			return nil, l.reason()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// arrivals are what Receive returns.
func (l *link) arrivals() []transport.Delivery {
	if l.take != nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	page := l.deliveries
	l.deliveries = nil
	return page
}

// Ack implements transport.Link.
func (l *link) Ack(ctx context.Context, acks ...ack.Ack) error {
	if err := ctx.Err(); err != nil || len(acks) == 0 {
		return err
	}
	done := make(chan error, 1)
	l.Post(slices.Clone(acks), func(err error) { done <- err })
	return l.await(ctx, done)
}

// Post joins the acks of calls that wait for the pipe in one frame, and parts those of one call that do
// not fit one. It implements transport.Direct.
func (l *link) Post(acks []ack.Ack, done func(error)) {
	l.begin()
	if len(acks) == 0 {
		done(nil)
		return
	}
	l.mu.Lock()
	if err := l.err; err != nil {
		l.mu.Unlock()
		done(err)
		return
	}
	if n := ack.Batch(acks); n == len(acks) {
		l.queueAcks(acks, done)
	} else {
		l.postParts(acks, done)
	}
	l.flush()
	l.mu.Unlock()
}

// postParts is for acks that do not fit one frame. mu is locked.
func (l *link) postParts(acks []ack.Ack, done func(error)) {
	var parts [][]ack.Ack
	for rest := acks; len(rest) > 0; {
		n := ack.Batch(rest)
		parts = append(parts, rest[:n])
		rest = rest[n:]
	}
	errs := make(transport.AckErrors, 0, len(acks))
	for i, part := range parts { // they are answered in their order, by one goroutine at a time
		l.queueAcks(part, func(err error) {
			if errs == nil {
				return
			}
			if err != nil && !transport.Refused(err) {
				errs = nil
				done(err)
				return
			}
			for i := range part {
				errs = append(errs, transport.AckError(err, i))
			}
			if i == len(parts)-1 {
				done(errs.Of())
			}
		})
	}
}

// queueAcks puts acks that fit one frame into the last that waits, or into another. mu is locked.
func (l *link) queueAcks(acks []ack.Ack, done func(error)) {
	c := &ackCall{n: len(acks), done: done}
	size := 0
	for i := range acks {
		size += acks[i].Size()
	}
	last := l.lastQueued()
	if last != nil && last.Acks != nil && len(last.Acks)+len(acks) <= ack.MaxBatch && l.lastBytes+size <= ack.MaxBatchBytes {
		c.frame, c.from = last, len(last.Acks)
		last.Acks = append(last.Acks, acks...)
		l.lastBytes += size
	} else {
		c.frame = &Frame{Acks: acks[:len(acks):len(acks)]}
		l.queue = append(l.queue, c.frame)
		l.lastBytes = size
	}
	l.acks = append(l.acks, c)
}

func (l *link) lastQueued() *Frame {
	if len(l.queue) == 0 {
		return nil
	}
	return l.queue[len(l.queue)-1]
}

func (l *link) Report(ctx context.Context, events ...event.Event) error {
	l.begin()
	if err := ctx.Err(); err != nil {
		return err
	}
	l.mu.Lock()
	if l.err != nil {
		defer l.mu.Unlock()
		return l.err
	}
	var calls []*eventCall
	for rest := events; len(rest) > 0 || len(calls) == 0; { // none is a sign of life
		part := append([]event.Event{}, rest[:event.Batch(rest)]...)
		c := &eventCall{frame: &Frame{Events: &part}, done: make(chan error, 1)}
		calls = append(calls, c)
		l.events = append(l.events, c)
		l.queue = append(l.queue, c.frame)
		rest = rest[len(part):]
	}
	l.flush()
	l.mu.Unlock()
	for _, c := range calls {
		if err := l.await(ctx, c.done); err != nil {
			return err
		}
	}
	return nil
}

// await returns the controller's answer, which counts also where the link ends right after it.
func (l *link) await(ctx context.Context, done <-chan error) error {
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
	}
	select {
	case err := <-done:
		return err
	default:
		return l.reason()
	}
}

func (l *link) Close() error {
	l.mu.Lock()
	l.finish(transport.ErrClosed)
	l.mu.Unlock()
	l.pipe.Close()
	l.begin()
	l.reading.Wait()
	l.rest()
	return nil
}

// over ends the link, and the calls that are not answered.
func (l *link) over(err error) {
	l.mu.Lock()
	l.finish(err)
	err = l.err
	calls := l.acks
	l.acks = nil
	l.mu.Unlock()
	for _, c := range calls {
		c.done(err)
	}
}

// handle returns the calls that a frame answers.
func (l *link) handle(f *Frame) (answered []*ackCall, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Recorded != nil {
		if answered, err = l.settle(f.Recorded); err != nil {
			return answered, err
		}
	}
	switch {
	case f.Commands != nil:
		for i := range f.Commands {
			if err := f.Commands[i].Validate(); err != nil {
				return answered, fmt.Errorf("framed: %w", err)
			}
		}
		if l.deliveries == nil {
			l.deliveries = f.Commands
		} else {
			l.deliveries = append(l.deliveries, f.Commands...)
		}
		if len(l.deliveries) > l.ahead {
			return answered, fmt.Errorf("framed: the controller sent %d commands beyond what was asked for", len(l.deliveries))
		}
		if l.take == nil {
			select {
			case l.arrived <- struct{}{}:
			default:
			}
		}
	case f.Taken != nil:
		return answered, l.taken(f.Taken)
	}
	return answered, nil
}

var errAnswer = errors.New("framed: the controller answered what was not asked")

// settle returns the calls that are answered. mu is locked.
func (l *link) settle(r *Recorded) (answered []*ackCall, err error) {
	refused := r.Refused
	for len(l.acks) > 0 && l.acks[0].frame.N != 0 && l.acks[0].frame.N <= r.Upto {
		c := l.acks[0]
		l.acks = l.acks[1:]
		var errs transport.AckErrors
		for _, r := range refused {
			if i := r.Index - c.from; r.Frame == c.frame.N && i >= 0 && i < c.n {
				if errs == nil {
					errs = make(transport.AckErrors, c.n)
				}
				errs[i] = r.err()
			}
		}
		c.err = errs.Of()
		answered = append(answered, c)
	}
	if r.Upto > l.sent {
		return answered, errAnswer
	}
	return answered, nil
}

func (l *link) taken(t *Taken) error {
	if len(l.events) == 0 || t.Of == 0 || l.events[0].frame.N != t.Of {
		return errAnswer
	}
	c := l.events[0]
	l.events = l.events[1:]
	if t.Error != nil {
		c.done <- t.Error.err()
	} else {
		c.done <- nil
	}
	return nil
}
