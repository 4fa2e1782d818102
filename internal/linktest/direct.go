// Package linktest has links for tests of those who use links.
package linktest

import (
	"context"
	"sync"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/inbox"
	"github.com/miglink/miglink/transport"
)

// Direct makes a transport.Direct of any link.
func Direct(l transport.Link) transport.Direct { return &direct{Link: l} }

type direct struct {
	transport.Link
	loop  inbox.Loop
	over  chan struct{} // closed when nothing is read any more; nil: nobody wants to be called
	err   error         // why; read after over
	posts sync.WaitGroup

	mu     sync.Mutex
	closed bool
}

func (d *direct) Deliver(take func([]transport.Delivery)) {
	d.over = make(chan struct{})
	d.loop.Set(func() ([]transport.Delivery, error) {
		return d.Link.Receive(context.Background())
	}, func(page []transport.Delivery) error {
		take(page)
		return nil
	}, func(err error) {
		d.err = err
		close(d.over)
	})
	d.loop.Begin()
}

func (d *direct) ReadOn() { d.loop.ReadOn() }

func (d *direct) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if d.over == nil {
		return d.Link.Receive(ctx)
	}
	select {
	case <-d.over:
		return nil, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (d *direct) Post(acks []ack.Ack, done func(error)) {
	d.mu.Lock()
	closed := d.closed
	if !closed {
		d.posts.Go(func() { done(d.Ack(context.Background(), acks...)) })
	}
	d.mu.Unlock()
	if closed {
		done(transport.ErrClosed)
	}
}

func (d *direct) Close() error {
	d.mu.Lock()
	d.closed = true
	d.mu.Unlock()
	err := d.Link.Close()
	if d.over != nil {
		d.loop.End()
	}
	d.posts.Wait()
	return err
}
