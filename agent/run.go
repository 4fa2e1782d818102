package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/transport"
)

// start starts a concurrent task, and has any other wait for its turn. mu is locked.
func (a *Agent) start(t *task) {
	if !t.handler.policy.Concurrent {
		a.queue(t)
		return
	}
	if ctx := a.prepare(t); ctx != nil {
		a.work(func() { a.run(ctx, t) })
	}
}

// startLane has a goroutine run what waits, unless one does.
func (a *Agent) startLane() {
	if a.claimLane() {
		go a.doLane()
	}
}

// claimLane says whether there is something to run and nobody runs it: the caller has to, by doLane.
func (a *Agent) claimLane() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.busy || len(a.lane) == 0 || a.stopping {
		return false
	}
	a.busy = true
	a.working++
	return true
}

func (a *Agent) doLane() {
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.worked()
	}()
	a.runLane()
}

// abandoned ends a task whose handler has ended its goroutine, and has another run what waits.
func (a *Agent) abandoned(t *task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work(func() {
		a.finish(t, ack.Ack{Stage: ack.Failed, Reason: "the handler ended its goroutine"})
		if t.handler.policy.Concurrent {
			return
		}
		a.mu.Lock()
		a.busy = false
		a.mu.Unlock()
		a.startLane()
	})
}

// runLane runs what waits, one at a time, until nothing does.
func (a *Agent) runLane() {
	for {
		a.mu.Lock()
		if len(a.lane) == 0 || a.stopping {
			a.busy = false
			a.mu.Unlock()
			return
		}
		t := a.lane[0]
		a.lane = slices.Delete(a.lane, 0, 1)
		ctx := a.prepare(t)
		a.mu.Unlock()
		a.run(ctx, t)
	}
}

// prepare returns the context to run t with; nil where the agent stops. mu is locked.
func (a *Agent) prepare(t *task) context.Context {
	if a.stopping {
		return nil
	}
	ctx, stop := context.WithCancelCause(a.handling)
	t.stop = stop
	return ctx
}

// work runs f in a goroutine that Run waits for. mu is locked.
func (a *Agent) work(f func()) {
	a.working++
	go func() {
		defer func() {
			a.mu.Lock()
			defer a.mu.Unlock()
			a.worked()
		}()
		f()
	}()
}

// worked is the end of what was counted in working. mu is locked.
func (a *Agent) worked() {
	if a.working--; a.working == 0 && a.rested != nil {
		close(a.rested)
		a.rested = nil
	}
}

// atRest returns a channel that is closed when no goroutine of work is left.
func (a *Agent) atRest() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	c := make(chan struct{})
	if a.working == 0 {
		close(c)
	} else {
		a.rested = c
	}
	return c
}

// run goes on with a task until it is finished, or the agent stops.
func (a *Agent) run(ctx context.Context, t *task) {
	defer t.stop(nil)
	for {
		if final, ended := a.decided(t); ended {
			a.finish(t, final)
			return
		}
		final, ok := a.attempt(ctx, t)
		if !ok {
			return
		}
		if final.Stage != ack.Deferred {
			a.finish(t, final)
			return
		}
		if !a.deferTask(ctx, t, final) {
			return
		}
	}
}

// decided says how a task ends that is not to be run, or not again.
func (a *Agent) decided(t *task) (ack.Ack, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case t.dropped != nil:
		return *t.dropped, true
	case t.Expired(time.Now()) && !t.begun: // one that had begun when the process died was in time
		return ack.Ack{Stage: ack.Expired, Reason: "not started in time"}, true
	}
	return ack.Ack{}, false
}

// attempt runs the handler once. It returns false where the agent stops and the task is left for the
// next process.
func (a *Agent) attempt(ctx context.Context, t *task) (ack.Ack, bool) {
	if final, ok := a.begin(ctx, t); !ok || final.Stage != "" {
		return final, ok
	}
	a.mu.Lock()
	job := &Job{a: a, t: t, attempt: t.Attempt}
	a.mu.Unlock()
	if a.journal != nil {
		if err := a.journal.Write(journal.Record{ID: t.ID, Started: job.attempt}); err != nil {
			a.log.Error("cannot journal a start", "command_id", t.ID, "type", t.Type, "error", err)
			return ack.Ack{Stage: ack.Rejected, Reason: "the agent's journal failed"}, true
		}
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "command started", slog.String("command_id", t.ID), slog.String("type", string(t.Type)), slog.Int("attempt", job.attempt))
	result, err := t.handler.call(ctx, job)
	return outcome(ctx, result, err)
}

// begin says that the task starts and, if its type wants that confirmed, waits. It returns the end
// of a task that may not start.
func (a *Agent) begin(ctx context.Context, t *task) (ack.Ack, bool) {
	if !t.handler.policy.Confirm {
		a.mu.Lock()
		a.say(t, ack.Started, nil)
		a.mu.Unlock()
		return ack.Ack{}, true
	}
	recorded := make(chan error, 1)
	a.mu.Lock()
	a.say(t, ack.Started, func(err error) { recorded <- err })
	link := a.link
	a.mu.Unlock()
	a.goOn(link)
	select {
	case err := <-recorded:
		if err != nil {
			return refusedEnd(err), true
		}
		return ack.Ack{}, true
	case <-ctx.Done():
		return a.stopped(ctx, t)
	}
}

// stopped is how a task ends whose handler does not run when its context has ended.
func (a *Agent) stopped(ctx context.Context, t *task) (ack.Ack, bool) {
	if errors.Is(context.Cause(ctx), errStopping) {
		return ack.Ack{}, false
	}
	final, _ := a.decided(t)
	return final, true
}

// refusedEnd is the end of a task that the controller does not let start.
func refusedEnd(err error) ack.Ack {
	end := ack.Ack{Stage: ack.Rejected, Reason: "the controller refused the start: " + err.Error()}
	switch {
	case errors.Is(err, transport.ErrCommandCanceled):
		end.Stage = ack.Canceled
	case errors.Is(err, transport.ErrCommandExpired):
		end.Stage = ack.Expired
	case errors.Is(err, transport.ErrCommandSuperseded):
		end.Stage = ack.Superseded
	}
	return end
}

// outcome is what a handler's return means.
func outcome(ctx context.Context, result any, err error) (ack.Ack, bool) {
	var reject *rejection
	var retry *retryLater
	cause := context.Cause(ctx)
	switch {
	case err == nil:
		raw, err := marshalResult(result)
		final := ack.Ack{Stage: ack.Succeeded, Result: raw}
		if err != nil { // it did succeed
			final.Reason = err.Error()
		}
		return final, true
	case errors.As(err, &reject):
		return ack.Ack{Stage: ack.Rejected, Reason: reject.reason}, true
	case errors.Is(cause, ErrCanceled):
		return ack.Ack{Stage: ack.Canceled, Reason: err.Error()}, true
	case errors.Is(cause, errStopping):
		return ack.Ack{}, false
	case errors.As(err, &retry):
		return ack.Ack{Stage: ack.Deferred, Reason: retry.reason, RetryAfter: retry.after.Seconds()}, true
	}
	return ack.Ack{Stage: ack.Failed, Reason: err.Error()}, true
}

// deferTask waits until a deferred task may run again: when its time has come, or when the
// controller delivers it again, whichever is first. It returns false where the agent stops.
func (a *Agent) deferTask(ctx context.Context, t *task, deferral ack.Ack) bool {
	a.mu.Lock()
	t.again = make(chan struct{}, 1)
	again := t.again
	t.stage = ack.Deferred
	a.said(t)
	next := t.Attempt + 1
	deferral.CommandID, deferral.Attempt, deferral.Time = t.ID, t.Attempt, time.Now()
	deferral.Reason = shorten(deferral.Reason)
	a.out.put(deferral, true, nil)
	wait := deferral.Delay()
	if !t.ExpiresAt.IsZero() {
		wait = min(wait, time.Until(t.ExpiresAt))
	}
	a.mu.Unlock()
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-again:
	case <-ctx.Done():
		return !errors.Is(context.Cause(ctx), errStopping) // cancelled: run sees it
	}
	a.mu.Lock()
	t.Attempt = max(t.Attempt, next)
	a.mu.Unlock()
	return true
}
