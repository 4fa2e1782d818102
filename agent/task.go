package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// task is one command that the agent holds. Its fields are guarded by Agent.mu.
type task struct {
	*transport.Delivery
	handler  *handler // nil: the type is unknown, or it is a cancel
	invalid  error    // what makes its parameters such that no handler may have them, or the journal
	arrived  arrival  // of the latest delivery
	link     int      // which has brought the latest delivery, as Agent.links counts; 0: one of an earlier process
	begun    bool     // a handler may have run, in a process that is gone
	called   bool     // a handler was called, in this process, and has deferred it
	stage    ack.Stage
	run      string                  // the name of its run, once it is said; see ack.Ack
	unsaid   bool                    // the stage is kept back, see Agent.quiet
	dropped  *ack.Ack                // its end, decided before it began
	stop     context.CancelCauseFunc // ends what goes on for it; nil until it has had its turn
	deferred bool                    // it waits in its lane until it may run again

	limit     *time.Timer   // ends its run; nil: none goes on, or it has no limit
	abandoned chan struct{} // closed when that was said; nil: its run was not abandoned
	goesOn    bool          // its run was abandoned, and the handler has not returned

	unwritten bool          // it is deferred because the journal cannot be written
	again     chan struct{} // the controller delivered it again; holds one, nil before a deferral
	finally   []func()
	waiting   []func(ack.Ack) // told of the end: cancel commands
}

func (a *Agent) newTask(d *transport.Delivery, arrived arrival) task {
	t := task{Delivery: d, arrived: arrived, link: a.links, handler: a.handlers[d.Type], begun: d.Started}
	if len(d.Parameters) > 0 { // none are an empty object, on every transport
		t.invalid = d.Parameters.Validate()
	}
	return t
}

// ackOf is that t has come to a stage. mu is locked.
func (a *Agent) ackOf(t *task, stage ack.Stage) ack.Ack {
	said := ack.Ack{CommandID: t.ID, Stage: stage, Attempt: t.Attempt}
	if stage == ack.Started {
		said.Run, said.Again = t.named(), t.handler.policy.AfterCrash == RunAgain
		said.EndsIn = a.endsIn(t)
	}
	return said
}

// named returns the name of t's run. It is drawn late, since most runs are short and only their ends are said, and kept, since
// the controller may not hear of a deferral. mu is locked.
func (t *task) named() string {
	if t.run == "" {
		t.run = rand.Text()
	}
	return t.run
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
	said := a.ackOf(t, stage)
	said.Time = time.Now().UTC()
	a.out.put(said, done != nil, done)
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
	p.CommandID, p.Attempt, p.Time, p.EndsIn = t.ID, t.Attempt, time.Now().UTC(), a.endsIn(t)
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
			a.out.repeat(a.ackOf(t, stage))
		}
	}
}

// finish settles t, for good but where its run was abandoned: then it is called again when the handler has returned. It must
// not be called with mu locked.
func (a *Agent) finish(t *task, final ack.Ack) {
	final.CommandID, final.Time = t.ID, time.Now().UTC()
	final.Reason = reasonOf(final.Reason)
	if final.Attempt == 0 {
		a.mu.Lock()
		final.Attempt = t.Attempt // a redelivery may raise it meanwhile
		a.mu.Unlock()
	}
	a.journalEnd(t, &final)
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "command finished", slog.String("command_id", t.ID), slog.String("type", string(t.Type)),
		slog.String("stage", string(final.Stage)), slog.Int("attempt", final.Attempt))
	a.mu.Lock()
	if t.link != a.links && command.Exact(t.CreatedAt) {
		final.CreatedAt = t.CreatedAt
	}
	t.stage = final.Stage
	a.said(t)
	if a.tasks[t.ID] == t {
		delete(a.tasks, t.ID)
	}
	a.done.add(&final, t.CreatedAt)
	waiting := t.waiting
	t.waiting = nil
	var finally []func()
	if !t.goesOn {
		finally, t.finally = t.finally, nil
	}
	a.mu.Unlock()
	for _, tell := range waiting {
		tell(final)
	}
	a.out.putFinal(&final, finally)
}

// recorded is what is to be done once the controller has recorded the end of a command, or refused to.
func (a *Agent) recorded(l *letter, refusal error) {
	if refusal != nil {
		a.peers.Write(context.Background(), slog.LevelWarn, "the controller refused an outcome", "",
			slog.String("command_id", l.ack.CommandID), slog.Any("error", refusal))
	}
	if a.journal != nil {
		known := journal.Record{ID: l.ack.CommandID, Recorded: true}
		if l.ack.Abandons() { // there may be another end by now
			known.Of = l.ack.Stage
		}
		_ = a.journal.Note(known) // at worst it is said again
	}
	if refusal != nil || len(l.finally) == 0 {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, f := range l.finally {
		a.work(func() { a.finally(l.ack.CommandID, f) })
	}
}

// finally calls a function that was left for the end of a command: should it panic, the agent goes on.
func (a *Agent) finally(id string, f func()) {
	var panicked *safely.Panic
	if errors.As(safely.Do(func() error { f(); return nil }), &panicked) {
		a.panicked("a function of Finally panicked", panicked, "command_id", id)
	}
}

// drop ends a task that waits for its turn; if it is past that, it is stopped.
func (a *Agent) drop(t *task, final ack.Ack, cause error) {
	a.mu.Lock()
	waits := a.waits(t)
	switch {
	case t.stage.Final():
		a.mu.Unlock()
		return
	case waits:
		a.leave(t)
	case t.dropped == nil:
		t.dropped = &final
	}
	if t.stop != nil {
		t.stop(cause)
	}
	a.mu.Unlock()
	if waits {
		a.finish(t, final)
	}
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

// reasonOf makes of any text a reason that an ack may hold.
func reasonOf(s string) string { return document.Mend(s, ack.MaxText) }

// textOf is the text of a handler's error, whose own method may panic, as that of a nil pointer does.
func textOf(err error) string {
	var text string
	if panicked := safely.Do(func() error { text = err.Error(); return nil }); panicked != nil {
		return fmt.Sprintf("an error of type %T, whose Error method panics", err)
	}
	return text
}
