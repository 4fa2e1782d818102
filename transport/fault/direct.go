package fault

import (
	"context"
	"slices"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
)

// direct is a link with faults whose inner link is Direct: each page, and each call of Post, is a call.
type direct struct {
	*link
	inner transport.Direct
}

// Receive waits for the end where Deliver was called. No fault is drawn then.
func (l *direct) Receive(ctx context.Context) ([]transport.Delivery, error) {
	l.mu.Lock()
	delivers := l.delivers
	l.mu.Unlock()
	if !delivers {
		return l.link.Receive(ctx)
	}
	page, err := l.inner.Receive(ctx)
	if l.ctx.Err() != nil {
		err = context.Cause(l.ctx)
	}
	return page, err
}

// Deliver implements transport.Direct.
func (l *direct) Deliver(take func([]transport.Delivery)) {
	l.mu.Lock()
	l.delivers = true
	l.mu.Unlock()
	l.inner.Deliver(func(page []transport.Delivery) {
		if l.t.delay(l.ctx) != nil || l.cuts() {
			l.cutLater()
			return
		}
		var again []transport.Delivery
		if l.duplicates() {
			again = slices.Clone(page)
		}
		take(page)
		if l.loses() {
			l.cutLater()
		} else if again != nil {
			take(again)
		}
	})
}

// cutLater is cut for a goroutine that may be the one that reads, for which Close waits.
func (l *direct) cutLater() {
	l.cancel(errCut)
	go l.cut()
}

// ReadOn implements transport.Direct.
func (l *direct) ReadOn() { l.inner.ReadOn() }

// Post implements transport.Direct.
func (l *direct) Post(acks []ack.Ack, done func(error)) {
	if l.cuts() {
		l.cutLater()
	}
	if l.ctx.Err() != nil {
		done(context.Cause(l.ctx))
		return
	}
	loses := l.loses()
	l.inner.Post(acks, func(err error) {
		if loses {
			l.cutLater()
		}
		if l.ctx.Err() != nil {
			err = context.Cause(l.ctx)
		}
		done(err)
	})
}
