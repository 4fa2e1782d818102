package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/miglink/miglink/ack"
)

// ErrRunTimeout is the cause of a handler's context that ended because the run has lasted as long as it may.
var ErrRunTimeout = errors.New("the run has lasted as long as it may")

// A run that is limited is ended by its context. A handler that does not return within Options.RunGrace after that is
// abandoned: its command has failed, others run, and what it comes to later counts all the same. No goroutine waits for
// it any more, not even Run.

// runTimeout is how long a run of t may last; 0: as long as it likes.
func (t *task) runTimeout() time.Duration {
	ofType, own := t.handler.policy.RunTimeout, time.Duration(t.RunTimeout)
	if ofType == 0 || own > 0 && own < ofType {
		return own
	}
	return ofType
}

// endsIn is what is said of that, see ack.Ack.
func (a *Agent) endsIn(t *task) uint64 {
	limit := t.runTimeout()
	if limit == 0 {
		return 0
	}
	return uint64(min(limit+a.opts.RunGrace, ack.MaxEndsIn).Milliseconds())
}

// limitRun has the run of t end in time that begins now; ranOut is what ends it.
func (a *Agent) limitRun(t *task) {
	limit := t.runTimeout()
	if limit == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	stop, stopped := t.stop, false
	var timer *time.Timer
	timer = time.AfterFunc(limit, func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch {
		case t.limit != timer: // the run has ended
		case !stopped:
			stopped = true
			stop(ErrRunTimeout)
			timer.Reset(a.opts.RunGrace)
		default:
			a.abandon(t, limit)
		}
	})
	t.limit = timer
}

// abandon gives up a run whose handler does not return, and has others run. mu is locked.
func (a *Agent) abandon(t *task, limit time.Duration) {
	t.limit, t.abandoned = nil, make(chan struct{})
	t.goesOn = true
	a.abandoned++
	a.log.LogAttrs(context.Background(), slog.LevelError, "a run was abandoned: its handler does not return", slog.String("command_id", t.ID),
		slog.String("type", string(t.Type)), slog.Duration("run_timeout", limit), slog.Duration("grace", a.opts.RunGrace), slog.Int("abandoned_runs", a.abandoned))
	a.work(func() {
		a.finish(t, ack.Ack{
			Stage: ack.Failed, Code: ack.CodeRunTimeout,
			Reason: fmt.Sprintf("the run was to end after %s, and its handler had not returned %s later", limit, a.opts.RunGrace),
		})
		close(t.abandoned)
		a.mu.Lock()
		defer a.mu.Unlock()
		a.laneOf(t).busy = false
		a.returned(t)
		a.tellAbandoned()
	})
	a.worked() // of the goroutine that runs the handler
}

// runEnded takes note that the handler of t has returned. Was the run abandoned, it waits until that was said.
func (a *Agent) runEnded(t *task) (abandoned bool) {
	if t.runTimeout() == 0 {
		return false
	}
	a.mu.Lock()
	if t.limit != nil {
		t.limit.Stop()
		t.limit = nil
	}
	said := t.abandoned
	a.mu.Unlock()
	if said == nil {
		return false
	}
	<-said
	a.mu.Lock()
	defer a.mu.Unlock()
	t.goesOn = false
	a.abandoned--
	a.tellAbandoned()
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "the handler of an abandoned run has returned", slog.String("command_id", t.ID),
		slog.String("type", string(t.Type)), slog.Int("abandoned_runs", a.abandoned))
	return true
}

// timedOut is how a run ends that has lasted as long as it may.
func timedOut(t *task, why string) ack.Ack {
	return ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout, Reason: fmt.Sprintf("the run was to end after %s: %s", t.runTimeout(), why)}
}
