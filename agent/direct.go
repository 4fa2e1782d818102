package agent

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/transport"
)

// patience is how long the commands of a page may take before the link goes on without them.
const patience = time.Millisecond

// deliver has the goroutine that reads from the network run commands and send their ends: nobody has to be
// woken for one that is short. Should they take longer, or the network not take what is sent, another reads
// on, and what has ended is sent.
func (a *Agent) deliver(ctx context.Context, stop context.CancelCauseFunc, link transport.Direct) {
	tooLong := time.AfterFunc(time.Hour, func() { a.goOn(link) })
	tooLong.Stop()
	link.Deliver(func(page []transport.Delivery) {
		a.hush()
		if err := a.take(page); err != nil && !errors.Is(err, errStopping) {
			stop(err)
		}
		turn := a.lend()
		defer a.giveBack(turn)
		tooLong.Reset(patience)
		defer tooLong.Stop()
		defer a.sendHeld(ctx, stop, link) // also where a handler ends the goroutine
		if l := a.claimOne(); l != nil {
			a.runLane(l)
		}
	})
}

// lend lets another goroutine read on from now, and not before: the commands of the next page come after all
// of this one.
func (a *Agent) lend() (turn int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.turn++
	a.lent = a.turn
	return a.turn
}

// giveBack is the end of a turn: whoever had it reads on, unless another does.
func (a *Agent) giveBack(turn int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.lent == turn {
		a.lent = 0
	}
}

// sendHeld ends the quiet time of a page.
func (a *Agent) sendHeld(ctx context.Context, stop context.CancelCauseFunc, link transport.Direct) {
	a.speak()
	switch {
	case !a.out.release():
	case ctx.Err() != nil: // of a link that has ended meanwhile
		a.out.wake()
	default:
		a.post(ctx, stop, link)
	}
}

func (a *Agent) hush() {
	a.out.hold()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quiet = true
}

// goOn is for what may take long in a goroutine that may be the one that reads.
func (a *Agent) goOn(link transport.Link) {
	a.speak()
	if a.out.release() {
		a.out.wake()
	}
	a.mu.Lock()
	defer a.mu.Unlock() // or the turn might end, and the next page be in the middle of being taken
	if d, ok := link.(transport.Direct); ok && a.lent != 0 {
		a.lent = 0
		d.ReadOn()
	}
}

// post sends what is in the outbox. Should the link have to end for an answer, it stops ctx.
func (a *Agent) post(ctx context.Context, stop context.CancelCauseFunc, link transport.Direct) {
	for ctx.Err() == nil {
		batch := a.out.take(posted)
		if len(batch) == 0 {
			return
		}
		link.Post(acksOf(batch), func(err error) {
			if err := a.answered(batch, err); err != nil {
				stop(err)
			}
		})
	}
}
