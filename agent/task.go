package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// task is one command that the agent holds. Its fields are guarded by Agent.mu.
type task struct {
	*transport.Delivery
	handler *handler // nil: the type is unknown, or it is a cancel
	begun   bool     // a handler may have run, in a process that is gone
	stage   ack.Stage
	unsaid  bool                    // the stage is kept back, see Agent.quiet
	dropped *ack.Ack                // its end, decided before it began
	stop    context.CancelCauseFunc // ends what goes on for it; nil while it waits for its turn
	again   chan struct{}           // the controller delivered it again; holds one, nil before a deferral
	finally []func()
	waiting []func(ack.Ack) // told of the end: cancel commands
}

func (a *Agent) newTask(d *transport.Delivery) task {
	return task{Delivery: d, handler: a.handlers[d.Type], begun: d.Started}
}

// say queues what is now true of t. Nobody waits for what is not urgent: it goes out together with
// what follows. mu is locked.
func (a *Agent) say(t *task, stage ack.Stage, done func(error)) {
	t.stage = stage
	if done == nil && a.quiet {
		if !t.unsaid {
			t.unsaid = true
			a.unsaid++
		}
		return
	}
	a.said(t)
	a.out.put(ack.Ack{CommandID: t.ID, Stage: stage, Attempt: t.Attempt, Time: time.Now()}, done != nil, done)
}

// said is that no stage of t is kept back any more. mu is locked.
func (a *Agent) said(t *task) {
	if t.unsaid {
		t.unsaid = false
		a.unsaid--
	}
}

// speak ends a quiet time: what is kept back is said.
func (a *Agent) speak() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.quiet = false
	if a.unsaid == 0 {
		return
	}
	for _, t := range a.tasks {
		if t.unsaid {
			a.say(t, t.stage, nil)
		}
	}
}

func (a *Agent) progress(t *task, p ack.Ack) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.stage != ack.Started && t.stage != ack.Progress {
		return
	}
	t.stage = ack.Progress
	a.said(t)
	p.CommandID, p.Attempt, p.Time = t.ID, t.Attempt, time.Now()
	a.out.put(p, true, nil)
}

// repeat says again what is held, so that the controller does not deliver it again.
func (a *Agent) repeat() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, t := range a.tasks {
		stage := t.stage
		if stage == ack.Progress {
			stage = ack.Started // progress counts each time; this must not
		}
		if stage == ack.Received || stage == ack.Started {
			a.out.put(ack.Ack{CommandID: t.ID, Stage: stage, Attempt: t.Attempt}, true, nil)
		}
	}
}

// finish settles t for good. It must not be called with mu locked.
func (a *Agent) finish(t *task, final ack.Ack) {
	final.CommandID, final.Time = t.ID, time.Now()
	final.Reason = shorten(final.Reason)
	if final.Attempt == 0 {
		a.mu.Lock()
		final.Attempt = t.Attempt // a redelivery may raise it meanwhile
		a.mu.Unlock()
	}
	if a.journal != nil {
		if err := a.journal.Write(journal.Record{ID: t.ID, Finished: &final}); err != nil {
			a.log.Error("cannot journal an outcome", "command_id", t.ID, "type", t.Type, "error", err)
		}
	}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "command finished", slog.String("command_id", t.ID), slog.String("type", string(t.Type)),
		slog.String("stage", string(final.Stage)), slog.Int("attempt", final.Attempt))
	a.mu.Lock()
	t.stage = final.Stage
	a.said(t)
	delete(a.tasks, t.ID)
	a.done.add(&final)
	finally, waiting := t.finally, t.waiting
	t.finally, t.waiting = nil, nil
	a.mu.Unlock()
	for _, tell := range waiting {
		tell(final)
	}
	a.out.putFinal(&final, finally)
}

// recorded is what is to be done once the controller has recorded the end of a command, or refused to.
func (a *Agent) recorded(l *letter, refusal error) {
	if refusal != nil {
		a.log.Warn("the controller refused an outcome", "command_id", l.ack.CommandID, "error", refusal)
	}
	if a.journal != nil {
		_ = a.journal.Note(journal.Record{ID: l.ack.CommandID, Recorded: true}) // at worst it is said again
	}
	if refusal != nil || len(l.finally) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range l.finally {
		a.work(f)
	}
}

// drop ends a task that waits for its turn; if it is past that, it is stopped.
func (a *Agent) drop(t *task, final ack.Ack, cause error) {
	a.mu.Lock()
	if t.stage.Final() {
		a.mu.Unlock()
		return
	}
	if i := slices.Index(a.lane, t); i >= 0 {
		a.lane = slices.Delete(a.lane, i, i+1)
		a.mu.Unlock()
		a.finish(t, final)
		return
	}
	if t.dropped == nil {
		t.dropped = &final
	}
	if t.stop != nil {
		t.stop(cause)
	}
	a.mu.Unlock()
}

func (a *Agent) knownTypes() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	types := []string{string(command.TypeCancel)}
	for t := range a.handlers {
		types = append(types, string(t))
	}
	slices.Sort(types)
	return strings.Join(types, ", ")
}

// shorten keeps a reason within what an ack may hold.
func shorten(s string) string {
	if len(s) > ack.MaxText {
		s = strings.ToValidUTF8(s[:ack.MaxText-3], "") + "…"
	}
	return s
}

func marshalResult(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	b, err := wirejson.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("the result is not JSON: %w", err)
	}
	if len(b) > ack.MaxResult {
		return nil, fmt.Errorf("the result has %d bytes, at most %d are allowed", len(b), ack.MaxResult)
	}
	return b, nil
}
