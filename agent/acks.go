package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
)

// sendAcks sends what is in the outbox until the link fails or ctx, which stop ends, does.
func (a *Agent) sendAcks(ctx context.Context, stop context.CancelCauseFunc, link transport.Link) error {
	send := func() error { return a.sendBatch(ctx, link) }
	var others sync.WaitGroup
	if d, ok := link.(transport.Direct); ok {
		send = func() error { a.post(ctx, stop, d); return nil }
	} else {
		for range ahead {
			others.Go(func() { stop(a.sendMore(ctx, send)) })
		}
	}
	stop(a.sendFirst(ctx, send))
	others.Wait()
	return context.Cause(ctx)
}

// sendMore sends what is to be sent at once while others wait for their answers.
func (a *Agent) sendMore(ctx context.Context, send func() error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.out.now:
			if err := send(); err != nil {
				return err
			}
		}
	}
}

// sendFirst also sends what may linger, and repeats what is held.
func (a *Agent) sendFirst(ctx context.Context, send func() error) error {
	a.out.wake()
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
		if err := send(); err != nil {
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

// sendBatch sends a batch and waits for the answer. An error means that the link has ended, or is to.
func (a *Agent) sendBatch(ctx context.Context, link transport.Link) error {
	batch := a.out.take(ahead + 1)
	if len(batch) == 0 {
		return nil
	}
	return a.answered(batch, link.Ack(ctx, acksOf(batch)...))
}

func acksOf(batch []*letter) []ack.Ack {
	acks := make([]ack.Ack, len(batch))
	for i, l := range batch {
		acks[i] = *l.ack
	}
	return acks
}

// answered is what follows from the answer to a batch.
func (a *Agent) answered(batch []*letter, err error) error {
	if err != nil && !transport.Refused(err) {
		a.out.sent(batch, batch)
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
		if plain := l.without(refusal); plain != nil {
			a.remember(plain.ack)
			again = append(again, plain)
			continue
		}
		for _, done := range l.done {
			done(refusal)
		}
		switch {
		case l.ack.Stage.Final():
			a.recorded(l, refusal)
		case refusal != nil && len(l.done) == 0:
			a.refused(*l.ack, refusal)
		}
	}
	a.out.sent(batch, again)
	return fatal
}

// without is the end of a command said again, without the result and the reason that the controller refuses: it may be of
// a version that takes less, and the command did end. It is nil where the refusal is another, or there is nothing more
// to leave out.
func (l *letter) without(refusal error) *letter {
	if l.plain || !l.ack.Stage.Final() || l.ack.Reason == "" && l.ack.Result == nil ||
		!errors.Is(refusal, transport.ErrInvalid) && !errors.Is(refusal, transport.ErrTooLarge) {
		return nil
	}
	plain := *l.ack
	plain.Result = nil
	plain.Reason = reasonOf("the controller did not take the reason and the result: " + transport.AsError(refusal).Message)
	return &letter{ack: &plain, done: l.done, finally: l.finally, plain: true}
}

// remember has a.done answer by another end of the same command.
func (a *Agent) remember(final *ack.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if final.Code != CodeIDReused { // which is not what came of the command that is remembered
		a.done.change(final)
	}
}

// retryable says whether an ack that was refused is to be said again later, over another link.
func retryable(err error) bool {
	return err != nil && (errors.Is(err, transport.ErrInternal) || errors.Is(err, transport.ErrUnavailable) ||
		errors.Is(err, transport.ErrRateLimited) || transport.Terminal(err))
}

// refused ends a command of which the controller wants to hear no more before it has begun.
func (a *Agent) refused(said ack.Ack, err error) {
	a.peers.Write(context.Background(), slog.LevelInfo, "the controller refused an ack", "",
		slog.String("command_id", said.CommandID), slog.String("stage", string(said.Stage)), slog.Any("error", err))
	a.mu.Lock()
	t := a.tasks[said.CommandID]
	waits := t != nil && a.waits(t)
	a.mu.Unlock()
	if waits {
		a.drop(t, refusedEnd(err, t), nil)
	}
}
