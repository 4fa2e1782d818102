package transport

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/safely"
)

// Split is a Transport whose commands come down one way and whose acks and events go up another.
// The end of either ends the link.
func Split(down, up Transport) Transport { return &split{down: down, up: up} }

type split struct{ down, up Transport }

func (s *split) Dial(ctx context.Context, hello Hello) (Link, error) {
	uphello := hello
	uphello.Uplink, uphello.After, uphello.Window = true, "", 0
	up, err := s.up.Dial(ctx, uphello)
	if err != nil {
		return nil, fmt.Errorf("up: %w", err)
	}
	if hello.Uplink {
		return up, nil
	}
	down, err := s.down.Dial(ctx, hello)
	if err != nil {
		up.Close()
		return nil, fmt.Errorf("down: %w", err)
	}
	l := &splitLink{down: down, up: up, ended: make(chan struct{})}
	l.ctx, l.cancel = context.WithCancelCause(context.Background())
	if v, ok := down.(Voucher); ok {
		v.Unsaid(func() bool { return l.acks.Load() > 0 })
	}
	go l.watchUp()
	d, isDirect := down.(Direct)
	p, posts := up.(poster)
	if isDirect && posts {
		return &directSplit{l, d, p}, nil
	}
	return l, nil
}

// poster is the half of Direct that the way up needs.
type poster interface {
	Post(acks []ack.Ack, done func(error))
}

type splitLink struct {
	down, up Link
	ctx      context.Context // ends with the uplink; its cause says why
	cancel   context.CancelCauseFunc
	ended    chan struct{} // closed when watchUp has returned
	acks     atomic.Int64  // calls of Ack that are under way
}

// watchUp waits for the end of the uplink, which nothing else would tell while no ack is due.
func (l *splitLink) watchUp() {
	defer close(l.ended)
	_, err := l.up.Receive(l.ctx)
	l.cancel(fmt.Errorf("up: %w", err))
}

// Proven implements Prover: it is the way down that is to prove itself.
func (l *splitLink) Proven() bool { return proven(l.down) }

// proven says whether a link has proved itself, as far as it knows. One that panics has not.
func proven(l Link) (is bool) {
	p, knows := l.(Prover)
	if !knows {
		return true
	}
	return safely.Do(func() error { is = p.Proven(); return nil }) == nil && is
}

func (l *splitLink) Receive(ctx context.Context) ([]Delivery, error) {
	both, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(l.ctx, cancel)()
	page, err := l.down.Receive(both)
	if err != nil && ctx.Err() == nil && l.ctx.Err() != nil {
		err = context.Cause(l.ctx)
	}
	return page, err
}

func (l *splitLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	l.acks.Add(1)
	defer l.acks.Add(-1)
	return l.up.Ack(ctx, acks...)
}

func (l *splitLink) Report(ctx context.Context, events ...event.Event) error {
	return l.up.Report(ctx, events...)
}

func (l *splitLink) Close() error {
	l.cancel(ErrClosed)
	err := errors.Join(l.down.Close(), l.up.Close())
	<-l.ended
	return err
}

// directSplit takes commands from one link and posts acks to the other.
type directSplit struct {
	*splitLink
	direct Direct
	poster poster
}

// Deliver implements Direct. Receive, which waits for the end, says whose it was.
func (l *directSplit) Deliver(take func([]Delivery)) { l.direct.Deliver(take) }

// ReadOn implements Direct.
func (l *directSplit) ReadOn() { l.direct.ReadOn() }

// Post implements Direct.
func (l *directSplit) Post(acks []ack.Ack, done func(error)) {
	l.acks.Add(1)
	l.poster.Post(acks, func(err error) {
		l.acks.Add(-1)
		done(err)
	})
}
