package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
)

const (
	ackBatch = 256                   // acks in one call
	linger   = 20 * time.Millisecond // how long what nobody waits for may wait for company
)

// outbox holds what is to be told until the controller has recorded it: at most one ack per command,
// the latest, and a final one stays.
type outbox struct {
	mu      sync.Mutex
	letters map[string]*letter
	order   []string
	sending int           // letters that are under way
	now     chan struct{} // holds one: send at once
	soon    chan struct{} // holds one: send after lingering
	empty   chan struct{} // closed when there is nothing left; nil unless somebody waits
}

type letter struct {
	ack  ack.Ack
	done []func(error) // told when it is recorded (nil) or refused for good
}

func newOutbox() *outbox {
	return &outbox{letters: map[string]*letter{}, now: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
}

func (o *outbox) put(a ack.Ack, now bool, done func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.letters[a.CommandID]
	switch {
	case l == nil:
		l = &letter{ack: a}
		o.letters[a.CommandID] = l
		o.order = append(o.order, a.CommandID)
	case l.ack.Stage.Final() && !a.Stage.Final():
		return
	default:
		l.ack = a
	}
	if done != nil {
		l.done = append(l.done, done)
	}
	o.signal(now)
}

func (o *outbox) signal(now bool) {
	c := o.soon
	if now {
		c = o.now
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

// take moves up to n letters out, oldest first.
func (o *outbox) take(n int) []*letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	n = min(n, len(o.order))
	batch := make([]*letter, n)
	for i, id := range o.order[:n] {
		batch[i] = o.letters[id]
		delete(o.letters, id)
	}
	o.order = slices.Delete(o.order, 0, n)
	o.sending += n
	if len(o.order) > 0 {
		o.signal(true)
	}
	return batch
}

// sent ends a take of n; what is in again goes back, unless something newer is known by now.
func (o *outbox) sent(n int, again []*letter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending -= n
	back := make([]string, 0, len(again))
	for _, l := range again {
		id := l.ack.CommandID
		if newer := o.letters[id]; newer != nil {
			if l.ack.Stage.Final() && !newer.ack.Stage.Final() {
				newer.ack = l.ack
			}
			newer.done = append(l.done, newer.done...)
			continue
		}
		o.letters[id] = l
		back = append(back, id)
	}
	o.order = append(back, o.order...)
	if len(back) > 0 {
		o.signal(true)
	}
	if len(o.order) == 0 && o.sending == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// emptied returns a channel that is closed when nothing is left to be recorded.
func (o *outbox) emptied() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(chan struct{})
	if len(o.order) == 0 && o.sending == 0 {
		close(c)
	} else {
		o.empty = c
	}
	return c
}

// ahead is how many batches more may be under way before the first is answered.
const ahead = 3

// sendAcks sends what is in the outbox until the link fails or ctx ends.
func (a *Agent) sendAcks(ctx context.Context, link transport.Link) error {
	ctx, stop := context.WithCancelCause(ctx)
	var others sync.WaitGroup
	for range ahead {
		others.Go(func() { stop(a.sendMore(ctx, link)) })
	}
	err := a.sendFirst(ctx, link)
	stop(err)
	others.Wait()
	return context.Cause(ctx)
}

// sendMore sends what is to be sent at once while others wait for their answers.
func (a *Agent) sendMore(ctx context.Context, link transport.Link) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.out.now:
			if err := a.sendBatch(ctx, link, a.out.take(ackBatch)); err != nil {
				return err
			}
		}
	}
}

// sendFirst also sends what may linger, and repeats what is held.
func (a *Agent) sendFirst(ctx context.Context, link transport.Link) error {
	a.out.signal(true)
	lingering := time.NewTimer(0)
	<-lingering.C
	defer lingering.Stop()
	every := a.keepEvery()
	keep := time.NewTimer(every)
	defer keep.Stop()
	for {
		if now := a.keepEvery(); now != every { // the first delivery says how often
			every = now
			keep.Reset(every)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.out.soon:
			lingering.Reset(linger)
			continue
		case <-keep.C:
			a.repeat()
			keep.Reset(every)
			continue
		case <-a.out.now:
		case <-lingering.C:
		}
		// What comes meanwhile lingers anew, or the mere beginning of a command would be sent when this
		// returns, and its end would have to wait for that.
		lingering.Stop()
		if err := a.sendBatch(ctx, link, a.out.take(ackBatch)); err != nil {
			return err
		}
	}
}

func (a *Agent) keepEvery() time.Duration {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.keep == 0 {
		return defaultKeep
	}
	return a.keep
}

func (a *Agent) sendBatch(ctx context.Context, link transport.Link, batch []*letter) error {
	if len(batch) == 0 {
		a.out.sent(0, nil)
		return nil
	}
	acks := make([]ack.Ack, len(batch))
	for i, l := range batch {
		acks[i] = l.ack
	}
	err := link.Ack(ctx, acks...)
	if err != nil && !transport.Refused(err) {
		a.out.sent(len(batch), batch)
		return err
	}
	var again []*letter
	var fatal error
	for i, l := range batch {
		refusal := transport.AckError(err, i)
		if retryable(refusal) {
			again = append(again, l)
			fatal = refusal
			continue
		}
		for _, done := range l.done {
			done(refusal)
		}
		if refusal != nil && len(l.done) == 0 {
			a.refused(l.ack, refusal)
		}
	}
	a.out.sent(len(batch), again)
	return fatal
}

// retryable says whether an ack that was refused is to be said again later, over another link.
func retryable(err error) bool {
	return err != nil && (errors.Is(err, transport.ErrInternal) || errors.Is(err, transport.ErrUnavailable) || transport.Terminal(err))
}

// refused ends a command of which the controller wants to hear no more before it has begun.
func (a *Agent) refused(said ack.Ack, err error) {
	a.log.Info("the controller refused an ack", "command_id", said.CommandID, "stage", said.Stage, "error", err)
	a.mu.Lock()
	t := a.tasks[said.CommandID]
	waits := t != nil && slices.Contains(a.lane, t)
	a.mu.Unlock()
	if waits {
		a.drop(t, refusedEnd(err), nil)
	}
}
