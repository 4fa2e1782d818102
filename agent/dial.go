package agent

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// goodAfter is how long a link must have lived for the next wait to start small again.
const goodAfter = 10 * time.Second

// usedAfter is how long a link must have lived for another to be dialled at once when its credentials expire: those
// of the next may be over as soon.
const usedAfter = 100 * time.Millisecond

// keepLinked dials until ctx ends (nil) or the controller says to stop for good.
func (a *Agent) keepLinked(ctx context.Context) error {
	bound := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(a.opts.BackoffInitial),
		backoff.WithMaxInterval(a.opts.BackoffMax),
		backoff.WithMultiplier(2),
		backoff.WithMaxElapsedTime(0),
		backoff.WithRandomizationFactor(0), // full jitter is drawn below
	)
	dials := &dials{}
	for {
		began := time.Now()
		linked, err := a.attach(ctx, dials)
		switch {
		case ctx.Err() != nil:
			return nil
		case transport.Terminal(err):
			a.log.Error("the controller told this agent to stop", "error", err)
			return err
		}
		if linked && errors.Is(err, transport.ErrReplaced) {
			a.replaced(ctx, dials)
		}
		lasted := time.Since(began)
		if lasted >= goodAfter {
			bound.Reset()
		}
		wait := a.wait(linked && lasted >= usedAfter, err, bound)
		what := "cannot link"
		if linked {
			what = "link lost"
			if panicked := (*safely.Panic)(nil); errors.As(err, &panicked) {
				a.panicked("serving the link panicked", panicked)
			}
		}
		a.peers.Write(ctx, slog.LevelWarn, what, "", slog.Any("error", err), slog.Duration("retry_in", wait.Round(time.Millisecond)))
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil
		}
	}
}

// wait is a random part of a bound that grows, and at least what the controller asks for, spread a
// little so that agents told the same do not come back together.
func (a *Agent) wait(used bool, err error, bound *backoff.ExponentialBackOff) time.Duration {
	if errors.Is(err, transport.ErrMoved) || used && errors.Is(err, transport.ErrCredentialsExpired) {
		return retryAfter(err)
	}
	wait := rand.N(max(bound.NextBackOff(), 1))
	if asked := retryAfter(err); asked > 0 {
		wait = max(wait, asked+rand.N(asked/10+1))
	}
	return wait
}

// maxRetryAfter bounds how long a controller may have an agent wait.
const maxRetryAfter = 24 * time.Hour

func retryAfter(err error) time.Duration { return min(transport.RetryAfter(err), maxRetryAfter) }

// attach dials once and serves the link until it ends. The error is never nil.
func (a *Agent) attach(ctx context.Context, dials *dials) (linked bool, err error) {
	a.mu.Lock()
	hello := transport.Hello{VM: a.opts.VM, Instance: a.instance, After: a.after, Window: a.opts.Window}
	a.waiting, a.late = a.clock(), false
	a.mu.Unlock()
	link, err := a.dial(ctx, hello)
	if err != nil {
		return false, err
	}
	a.linked()
	a.peers.Write(ctx, slog.LevelInfo, "linked", "", slog.String("instance", hello.Instance))

	ctx, stop := context.WithCancelCause(ctx)
	if d, ok := link.(transport.Direct); ok && a.journal == nil { // a journal's disk would keep it from reading
		a.deliver(ctx, stop, d)
	}
	a.setLink(link) // a report that waits for it begins it
	defer a.setLink(nil)
	var announcing sync.WaitGroup
	if dials.announced != hello.Instance { // so that it takes over from an older one before there is anything else to say
		announcing.Go(func() {
			if link.Report(ctx) == nil {
				dials.announced = hello.Instance
			}
		})
	}
	sent := make(chan error, 1)
	go func() {
		err := a.sendAcks(ctx, stop, link)
		link.Close() // ends Receive
		sent <- err
	}()
	err = a.receive(ctx, link)
	stop(nil)
	link.Close()
	announcing.Wait()
	return true, first(err, <-sent)
}

// dialGrace is how long an attempt may go on after the agent was stopped. One that is given up may
// still reach the controller, later than that of the next process, which it would fence.
const dialGrace = time.Second

func (a *Agent) dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	attempt, giveUp := context.WithTimeout(context.WithoutCancel(ctx), a.opts.DialTimeout)
	defer giveUp()
	defer context.AfterFunc(ctx, func() { time.AfterFunc(dialGrace, giveUp) })()
	var link transport.Link
	err := safely.Do(func() (err error) { // with a source of tokens, perhaps, which is the embedder's
		link, err = a.transport.Dial(attempt, hello)
		return err
	})
	if panicked := (*safely.Panic)(nil); errors.As(err, &panicked) {
		a.panicked("a dial panicked", panicked)
	}
	if err == nil && ctx.Err() != nil {
		link.Close()
		return nil, ctx.Err()
	}
	return link, err
}

// first prefers what the peer said, and then what is not a mere echo of the link's own end.
func first(errs ...error) error {
	var said *transport.Error
	for _, err := range errs {
		if errors.As(err, &said) {
			return err
		}
	}
	for _, err := range errs {
		if err != nil && !errors.Is(err, transport.ErrClosed) && !errors.Is(err, context.Canceled) {
			return err
		}
	}
	return errs[0]
}

func (a *Agent) receive(ctx context.Context, link transport.Link) error {
	for {
		page, err := link.Receive(ctx)
		if err != nil {
			return err
		}
		switch err := a.take(page); {
		case errors.Is(err, errStopping):
			<-ctx.Done() // what is not taken comes again
			return ctx.Err()
		case err != nil:
			return err
		}
		a.startLanes()
	}
}
