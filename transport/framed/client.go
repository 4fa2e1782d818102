package framed

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/transport"
)

// DialOptions are optional.
type DialOptions struct {
	// Token goes with the hello, for a pipe that has no other place for it.
	Token string

	// Welcome is the answer to a hello that went another way, with the request for the pipe. Default: it goes over
	// the pipe.
	Welcome *Welcome
}

// Dial says hello over p and returns the link, which closes p at its end. If it fails, p is closed.
func Dial(ctx context.Context, p Pipe, hello transport.Hello, o DialOptions) (transport.Link, error) {
	l := &link{end: newEnd(p)}
	l.in.Open(hello.Window, l.next, l.over)
	welcome := o.Welcome
	if welcome == nil {
		var err error
		if welcome, err = l.greet(ctx, &Hello{Version: Version, Token: o.Token, Hello: hello}); err != nil {
			l.mu.Lock()
			l.finish(err)
			l.mu.Unlock()
			return nil, err
		}
	}
	keepalive := DefaultKeepalive
	if s := welcome.Keepalive; s >= 0.001 {
		keepalive = time.Duration(min(s, maxKeepalive.Seconds()) * float64(time.Second))
	}
	l.mu.Lock()
	l.welcomed = l.received
	l.mu.Unlock()
	l.watch(keepalive, keepalive)
	return l, nil
}

func (l *link) greet(ctx context.Context, hello *Hello) (*Welcome, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // and no hello is said, which might end the VM's other link
	}
	hello.Stamp()
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
	in inbox.Inbox

	// guarded by end.mu
	welcomed  uint64       // frames in up to the welcome
	lastBytes int          // bounds the acks in the last frame of the queue that has any
	acks      []*ackCall   // not answered yet, in the order of their frames
	events    []*eventCall // likewise
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

// Proven implements transport.Prover.
func (l *link) Proven() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.received > l.welcomed
}

func (l *link) Receive(ctx context.Context) ([]transport.Delivery, error) {
	return l.in.Receive(ctx, l.done, l.reason)
}

// Deliver implements transport.Direct.
func (l *link) Deliver(take func([]transport.Delivery)) { l.in.Deliver(take) }

// ReadOn implements transport.Direct.
func (l *link) ReadOn() { l.in.ReadOn() }

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
	l.in.Begin()
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
	all := &inbox.Parts{Done: done}
	for rest := acks; len(rest) > 0; { // they are answered in their order, by one goroutine at a time
		n := ack.Batch(rest)
		part, last := rest[:n], n == len(rest)
		l.queueAcks(part, func(err error) { all.Answer(err, n, last) })
		rest = rest[n:]
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
	l.in.Begin()
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
	l.in.End()
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

// next reads a frame, tells those whom it answers, and returns its commands.
func (l *link) next() ([]transport.Delivery, error) {
	f, err := l.recv()
	if err != nil {
		return nil, err
	}
	answered, err := l.answers(f)
	for _, c := range answered {
		c.done(c.err)
	}
	for i := 0; i < len(f.Commands) && err == nil; i++ {
		if err = f.Commands[i].Validate(); err != nil {
			err = fmt.Errorf("framed: %w", err)
		}
	}
	return f.Commands, err
}

// answers returns the calls that a frame answers.
func (l *link) answers(f *Frame) (answered []*ackCall, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if f.Recorded != nil {
		if answered, err = l.settle(f.Recorded); err != nil {
			return answered, err
		}
	}
	if f.Taken != nil {
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
