// Package linktest has links for tests of those who use links.
package linktest

import (
	"context"
	"sync"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
)

// Direct makes a transport.Direct of any link.
func Direct(l transport.Link) transport.Direct { return &direct{Link: l} }

type direct struct {
	transport.Link
	take    func([]transport.Delivery)
	reading sync.WaitGroup // of one
	posts   sync.WaitGroup

	mu     sync.Mutex
	closed bool
	turn   int // counts the calls of take
	lent   int // the turn that comes back to read
	err    error
}

func (d *direct) Deliver(take func([]transport.Delivery)) {
	d.take = take
	d.reading.Add(1)
	go d.read()
}

func (d *direct) read() {
	for {
		page, err := d.Link.Receive(context.Background())
		if err != nil {
			d.mu.Lock()
			d.err = err
			d.mu.Unlock()
			d.reading.Done()
			return
		}
		d.mu.Lock()
		d.turn++
		turn := d.turn
		d.lent = turn
		d.mu.Unlock()
		returned := false
		func() {
			defer func() {
				if !returned {
					d.ReadOn()
				}
			}()
			d.take(page)
			returned = true
		}()
		d.mu.Lock()
		back := d.lent == turn
		if back {
			d.lent = 0
		}
		d.mu.Unlock()
		if !back {
			return
		}
	}
}

func (d *direct) ReadOn() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lent != 0 {
		d.lent = 0
		go d.read()
	}
}

func (d *direct) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if d.take == nil {
		return d.Link.Receive(ctx)
	}
	ended := make(chan struct{})
	go func() {
		d.reading.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		d.mu.Lock()
		defer d.mu.Unlock()
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
	d.reading.Wait()
	d.posts.Wait()
	return err
}
