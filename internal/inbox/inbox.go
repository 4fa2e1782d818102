package inbox

import (
	"context"
	"fmt"
	"sync"

	"github.com/miglink/miglink/transport"
)

// minAhead is how many commands may wait for Receive at least, whatever the window: urgent ones do
// not count in it.
const minAhead = 1024

// Inbox is a Loop whose pages wait for Receive, unless somebody wants to be called.
type Inbox struct {
	Loop
	ahead   int
	arrived chan struct{} // there are deliveries; holds one

	mu    sync.Mutex
	waits []transport.Delivery
}

// Open says what to do, as Loop.Set. The window is that of the Hello.
func (b *Inbox) Open(window int, next func() ([]transport.Delivery, error), over func(error)) {
	b.ahead, b.arrived = max(4*window, minAhead), make(chan struct{}, 1)
	b.Set(next, b.put, over)
}

// Deliver implements transport.Direct.
func (b *Inbox) Deliver(take func([]transport.Delivery)) {
	b.take = func(page []transport.Delivery) error {
		take(page)
		return nil
	}
}

// put has a page wait for Receive.
func (b *Inbox) put(page []transport.Delivery) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waits == nil {
		b.waits = page
	} else {
		b.waits = append(b.waits, page...)
	}
	if len(b.waits) > b.ahead {
		return fmt.Errorf("the controller sent %d commands beyond what was asked for", len(b.waits))
	}
	select {
	case b.arrived <- struct{}{}:
	default:
	}
	return nil
}

// Receive returns what has come and nobody was called for. Once done is closed it returns why the link has ended.
func (b *Inbox) Receive(ctx context.Context, done <-chan struct{}, why func() error) ([]transport.Delivery, error) {
	b.Begin()
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if page := b.arrivals(); len(page) > 0 {
			return page, nil
		}
		select {
		case <-b.arrived:
		case <-done:
			if page := b.arrivals(); len(page) > 0 {
				return page, nil
			}
			return nil, why()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

func (b *Inbox) arrivals() []transport.Delivery {
	b.mu.Lock()
	defer b.mu.Unlock()
	page := b.waits
	b.waits = nil
	return page
}
