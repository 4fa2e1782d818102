package simulation_test

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/transport"
)

// witness is the server half of a link: where the controller asks, it has the agent's end say what has arrived, and tells
// the controller if that is answered.
type witness struct {
	transport.Transport
	answers bool
}

// farEnd is an agent's end of a link.
type farEnd struct {
	got    atomic.Uint64   // deliveries that have arrived
	passes func() bool     // whether what is said by the link, and its answer, arrive
	ctx    context.Context // ends with the link
}

type farEndKey struct{}

// answerTime is how long an answer takes.
const answerTime = time.Second

func (p *witness) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	hello.AddHop("simulation") // or the controller would take a call of Receive for the agent's
	inner, err := p.Transport.Dial(ctx, hello)
	if err != nil {
		return nil, err
	}
	l := &nearEnd{Link: inner}
	end, _ := ctx.Value(farEndKey{}).(*farEnd)
	if w, ok := inner.(transport.Witness); ok && p.answers && end != nil {
		w.Ask(func() {
			n := l.handed.Load()
			go func() {
				timer := time.NewTimer(answerTime)
				defer timer.Stop()
				select {
				case <-timer.C:
				case <-end.ctx.Done():
					return
				}
				if end.got.Load() >= n && end.passes() {
					w.Arrived(n)
				}
			}()
		})
	}
	return l, nil
}

// nearEnd is a link as the server half has it.
type nearEnd struct {
	transport.Link
	handed atomic.Uint64 // deliveries
}

func (l *nearEnd) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page, err := l.Link.Receive(ctx)
	l.handed.Add(uint64(len(page)))
	return page, err
}
