package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// exited ends a task whose handler has ended its goroutine, and has another run what waits.
func (a *Agent) exited(t *task) {
	const reason = "the handler ended its goroutine"
	if a.runEnded(t) {
		a.finish(t, timedOut(t, reason))
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.work(func() {
		a.finish(t, ack.Ack{Stage: ack.Failed, Reason: reason})
		a.mu.Lock()
		defer a.mu.Unlock()
		a.laneOf(t).busy = false
		a.returned(t)
	})
}

// prepare returns the context of what goes on for t, which t.stop ends. mu is locked.
func (a *Agent) prepare(t *task) context.Context {
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

// run runs a task once. That finishes it, unless it is deferred, or the agent stops.
func (a *Agent) run(ctx context.Context, t *task) {
	defer t.stop(nil)
	final, ended := a.decided(t)
	if !ended {
		var ok bool
		if final, ok = a.attempt(ctx, t); !ok {
			return
		}
	}
	if final.Stage != ack.Deferred {
		a.finish(t, final)
	} else if end := a.deferTask(t, final); end != nil {
		a.finish(t, *end)
	}
}

// decided says how a task ends that is not to be run, or not again.
func (a *Agent) decided(t *task) (ack.Ack, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case t.dropped != nil:
		return *t.dropped, true
	case t.expired(a.clock()) && !t.begun: // one that had begun when the process died was in time
		return t.notRun(ack.Ack{Stage: ack.Expired, Reason: "not started in time"}), true
	}
	return ack.Ack{}, false
}

// notRun is end with the code that says so where a handler was called before: the stage alone says that none was, and frees
// the command's idempotency key.
func (t *task) notRun(end ack.Ack) ack.Ack {
	if t.called && (end.Stage == ack.Expired || end.Stage == ack.Rejected) {
		end.Code = ack.CodeBegun
	}
	return end
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
			a.log.Error("cannot journal a start now", "command_id", t.ID, "type", t.Type, "error", err)
			return noDisk(t.ID, job.attempt), !errors.Is(err, journal.ErrClosed)
		}
	}
	a.log.LogAttrs(ctx, slog.LevelInfo, "command started", slog.String("command_id", t.ID), slog.String("type", string(t.Type)), slog.Int("attempt", job.attempt))
	a.limitRun(t)
	result, err := t.handler.call(ctx, job)
	abandoned := a.runEnded(t)
	final, ok := a.outcome(ctx, t, result, err)
	if abandoned && final.Stage == ack.Deferred { // it has had its turn
		final = timedOut(t, final.Reason)
	}
	return final, ok
}

// outcome is what a handler's return means, be it a panic, or an error whose own methods panic.
func (a *Agent) outcome(ctx context.Context, t *task, result any, err error) (final ack.Ack, ok bool) {
	panicked, is := err.(*safely.Panic) //nolint:errorlint // the very one that call has made
	if !is {
		failed := safely.Do(func() error {
			final, ok = outcome(ctx, t, result, err)
			return nil
		})
		panicked, is = failed.(*safely.Panic) //nolint:errorlint // the very one that Do has made
	}
	if !is {
		return final, ok
	}
	a.panicked("handler panicked", panicked, "command_id", t.ID, "type", t.Type)
	if errors.Is(context.Cause(ctx), errStopping) {
		return ack.Ack{}, false
	}
	return ack.Ack{Stage: ack.Failed, Code: ack.CodePanic, Reason: "the handler panicked: the agent's log has more, at debug level"}, true
}

// begin says that the task starts and, if its type wants that confirmed, or the agent cannot tell whether it is in time,
// waits. It returns the end of a task that may not start.
func (a *Agent) begin(ctx context.Context, t *task) (ack.Ack, bool) {
	a.mu.Lock()
	if !t.handler.policy.Confirm && !t.unsure(a.clock()) {
		a.say(t, ack.Started, nil)
		a.mu.Unlock()
		return ack.Ack{}, true
	}
	recorded := make(chan error, 1)
	a.say(t, ack.Started, func(err error) { recorded <- err })
	link := a.link
	a.mu.Unlock()
	a.goOn(link)
	select {
	case err := <-recorded:
		if err != nil {
			return refusedEnd(err, t), true
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
func refusedEnd(err error, t *task) ack.Ack {
	if errors.Is(err, transport.ErrCommandStarted) {
		if end, ended := t.handler.policy.endAfterCrash("the controller refused the start: " + transport.AsError(err).Message); ended {
			return end
		}
	}
	end := ack.Ack{Stage: ack.Rejected, Reason: "the controller refused the start: " + err.Error()}
	if t.begun && !errors.Is(err, transport.ErrCommandCanceled) { // it had begun in time, and nobody knows how far it came
		end.Stage = ack.Interrupted
		if errors.Is(err, transport.ErrCommandSettled) { // another process has said how it ended
			end.Code = ack.CodeRefused
		}
		return end
	}
	switch {
	case errors.Is(err, transport.ErrCommandDead), errors.Is(err, transport.ErrCommandSettled):
		end.Code = ack.CodeRefused
		return end
	case errors.Is(err, transport.ErrCommandCanceled):
		end.Stage = ack.Canceled
	case errors.Is(err, transport.ErrCommandExpired):
		end.Stage = ack.Expired
	case errors.Is(err, transport.ErrCommandSuperseded):
		end.Stage = ack.Superseded
	}
	return t.notRun(end)
}

// outcome is what a handler's return means.
func outcome(ctx context.Context, t *task, result any, err error) (ack.Ack, bool) {
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
		return ack.Ack{Stage: ack.Rejected, Code: reject.code, Reason: reject.reason}, true
	case errors.Is(cause, ErrCanceled):
		return ack.Ack{Stage: ack.Canceled, Reason: textOf(err)}, true
	case errors.Is(cause, errStopping):
		return ack.Ack{}, false
	case errors.As(err, &retry):
		return ack.Ack{Stage: ack.Deferred, Reason: retry.reason, RetryAfter: retry.after.Seconds()}, true
	case errors.Is(cause, ErrRunTimeout):
		return timedOut(t, textOf(err)), true
	}
	return ack.Ack{Stage: ack.Failed, Reason: textOf(err)}, true
}

// deferTask has t wait in its lane, where it is the first, until its time has come or the controller delivers it again,
// whichever is first. It returns the end of a task that was dropped meanwhile.
func (a *Agent) deferTask(t *task, deferral ack.Ack) *ack.Ack {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.dropped != nil {
		return t.dropped
	}
	t.stage, t.called = ack.Deferred, t.called || deferral.Code != ack.CodeNoDisk
	a.said(t)
	deferral.CommandID, deferral.Attempt, deferral.Time = t.ID, t.Attempt, time.Now().UTC()
	deferral.Reason, deferral.Run = reasonOf(deferral.Reason), t.named()
	a.out.put(deferral, true, nil)
	wait := deferral.Delay()
	if left, limited := t.timeLeft(a.clock()); limited && !t.begun { // what has begun does not expire
		wait = min(wait, left)
	}
	t.deferred, t.again = true, make(chan struct{}, 1)
	l := a.laneOf(t)
	l.waits = slices.Insert(l.waits, 0, t)
	ctx, next, again := a.prepare(t), t.Attempt+1, t.again
	a.work(func() {
		defer t.stop(nil)
		timer := time.NewTimer(max(wait, 0))
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-again:
		case <-ctx.Done(): // the agent stops, or t was dropped
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		t.Attempt = max(t.Attempt, next)
		t.deferred = false
		a.say(t, ack.Received, nil) // others of its lane may run
		a.runLanes()
	})
	return nil
}
