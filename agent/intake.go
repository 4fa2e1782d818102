package agent

import (
	"errors"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// defaultKeep is how often what is held is said again where the controller names no deadline.
const defaultKeep = 10 * time.Second

// maxHeld is how many commands an agent holds at a time, or has yet to be told of that their end is recorded, at
// least, whatever the window: urgent ones do not count in it, and the controller's own window may be larger.
const maxHeld = 4096

var errTooMany = errors.New("the controller sent more commands than anybody has asked for")

// take takes over a page of deliveries, of which those that run one at a time wait for their turn. After an error
// it took nothing.
func (a *Agent) take(page []transport.Delivery) error {
	a.mu.Lock()
	if a.stopping {
		a.mu.Unlock()
		return errStopping
	}
	if max(len(a.tasks), a.out.size()) > max(maxHeld, 4*a.opts.Window) {
		a.mu.Unlock()
		return errTooMany
	}
	tasks, now := make([]task, 0, len(page)), a.arrives() // tasks that are new
	for i := range page {
		d := &page[i]
		if within := time.Duration(d.AckWithin) / 3; within > 0 && (a.keep == 0 || within < a.keep) {
			a.keep = within
		}
		if !a.known(d, now) {
			tasks = append(tasks, a.newTask(d, now))
			a.tasks[d.ID] = &tasks[len(tasks)-1]
		}
	}
	a.mu.Unlock()

	a.journalReceived(tasks)
	a.mu.Lock()
	a.after = page[len(page)-1].Cursor
	a.mu.Unlock()
	for i := range tasks {
		a.admit(&tasks[i])
	}
	return nil
}

// known answers for a command that was delivered before. mu is locked.
func (a *Agent) known(d *transport.Delivery, now arrival) bool {
	final, reused := a.done.of(&d.Command)
	if reused != nil {
		a.rejectReused(d, reused.created, "has ended as "+string(reused.final.Stage))
		return true
	}
	if final != nil {
		again := *final
		again.Attempt = d.Attempt
		a.out.putFinal(stamped(&again, d.CreatedAt), nil)
		return true
	}
	t := a.tasks[d.ID]
	if t == nil {
		return false
	}
	if command.Reused(t.CreatedAt, d.CreatedAt) {
		a.rejectReused(d, t.CreatedAt, "has not ended yet")
		return true
	}
	t.Attempt = max(t.Attempt, d.Attempt)
	t.delivered(d, now)
	t.link = a.links
	if t.unwritten {
		a.sayNoDisk(t)
		return true
	}
	if t.stage == ack.Deferred {
		select {
		case t.again <- struct{}{}:
		default:
		}
		return true
	}
	stage := t.stage
	if stage == ack.Progress {
		stage = ack.Started
	}
	if stage != "" {
		a.out.repeat(a.ackOf(t, stage))
	}
	return true
}

// admit lets a new task wait for its turn, or ends it where it has none.
func (a *Agent) admit(t *task) {
	if t.invalid != nil {
		a.finish(t, t.endOfInvalid())
		return
	}
	if t.Type == command.TypeCancel {
		a.cancel(t)
		return
	}
	if t.handler == nil {
		a.finish(t, ack.Ack{Stage: ack.Rejected, Reason: "unknown type; known are " + a.knownTypes()})
		return
	}
	if t.begun {
		if end, ended := t.handler.policy.endAfterCrash("the agent died while the handler ran"); ended {
			a.finish(t, end)
			return
		}
	}
	a.supersede(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.enqueue(t)
	if t.unwritten {
		a.waitForDisk(t)
		return
	}
	a.say(t, ack.Received, nil)
	a.runBeside()
}

// endOfInvalid is how a command ends whose parameters nobody can be given. It is not run, but may have been before.
func (t *task) endOfInvalid() ack.Ack {
	switch {
	case !t.begun:
		return ack.Ack{Stage: ack.Rejected, Reason: t.invalid.Error()}
	case t.handler != nil && t.handler.policy.AfterCrash == Completed:
		return ack.Ack{Stage: ack.Succeeded, Reason: "the agent is back"}
	}
	return ack.Ack{Stage: ack.Interrupted, Reason: "the agent died while the handler ran, and cannot run it again: " + t.invalid.Error()}
}

// supersede ends what t, which is newer, makes pointless and has not begun, in no process.
func (a *Agent) supersede(t *task) {
	if t.SupersedeKey == "" {
		return
	}
	a.mu.Lock()
	var old []*task
	for _, l := range [...]*lane{&a.urgent, &a.normal, &a.beside} {
		for _, o := range l.waits {
			if o.SupersedeKey == t.SupersedeKey && !o.begun {
				old = append(old, o)
			}
		}
	}
	a.mu.Unlock()
	for _, o := range old {
		a.drop(o, ack.Ack{Stage: ack.Superseded, Reason: "by " + t.ID}, nil)
	}
}

// cancel carries out a cancel command: it ends with what has become of its target.
func (a *Agent) cancel(c *task) {
	p, err := command.Decode[command.Cancel](c.Command)
	if err != nil {
		a.finish(c, ack.Ack{Stage: ack.Rejected, Reason: err.Error()})
		return
	}
	answer := func(final ack.Ack) {
		if final.Stage == ack.Canceled {
			a.finish(c, ack.Ack{Stage: ack.Succeeded})
		} else {
			a.finish(c, ack.Ack{Stage: ack.Failed, Reason: "the command has " + string(final.Stage)})
		}
	}
	canceled := ack.Ack{Stage: ack.Canceled, Reason: p.Reason}
	a.mu.Lock()
	final := a.done.get(p.CommandID)
	target := a.tasks[p.CommandID]
	if target != nil {
		target.waiting = append(target.waiting, answer)
		a.say(c, ack.Received, nil)
	}
	a.mu.Unlock()
	switch {
	case target != nil:
		a.drop(target, canceled, ErrCanceled)
	case final != nil:
		a.out.putFinal(final, nil)
		answer(*final)
	default: // not here yet: should it come, it is not run
		a.finish(&task{Delivery: &transport.Delivery{Command: command.Command{ID: p.CommandID}}}, canceled)
		answer(canceled)
	}
}

// restore takes up what the journal says an earlier process has left.
func (a *Agent) restore() error {
	if a.opts.Journal == "" {
		return nil
	}
	j, left, cursor, err := journal.Open(a.opts.Journal, a.opts.JournalLimit, a.opts.Remember)
	if err != nil {
		return err
	}
	a.journal, a.after = j, cursor
	if n, ids, path, setAside := j.Unreadable(); n > 0 {
		message := "the journal held what cannot be read; it was set aside, and the agent goes on without"
		if !setAside {
			message = "the journal holds what cannot be read; the agent goes on without, and sets it aside once the disk has room for that"
		}
		a.log.Error(message, "records", n, "command_ids", ids, "kept_in", path)
	}
	var held []*task
	for _, l := range left {
		switch {
		case l.Final != nil:
			a.done.add(l.Final, l.Created)
			if !l.Recorded {
				a.out.putFinal(stamped(l.Final, l.Created), nil)
			}
		case l.Delivery != nil:
			made := a.newTask(l.Delivery, arrival{})
			t := &made
			t.begun = t.begun || l.Started > 0
			if l.Unreadable != "" {
				t.invalid = errors.New(l.Unreadable)
			}
			a.tasks[t.ID] = t
			held = append(held, t)
		}
	}
	if len(left) > 0 {
		a.log.Info("journal read", "held", len(held), "finished", len(left)-len(held))
	}
	for _, t := range held {
		a.admit(t)
	}
	a.startLanes()
	return nil
}
