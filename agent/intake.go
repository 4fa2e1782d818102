package agent

import (
	"errors"
	"slices"
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
	tasks := make([]task, 0, len(page)) // that are new
	for i := range page {
		d := &page[i]
		if within := time.Duration(d.AckWithin) / 3; within > 0 && (a.keep == 0 || within < a.keep) {
			a.keep = within
		}
		if !a.known(d) {
			tasks = append(tasks, a.newTask(d))
			a.tasks[d.ID] = &tasks[len(tasks)-1]
		}
	}
	a.mu.Unlock()

	full := a.journalReceived(tasks)
	a.mu.Lock()
	a.after = page[len(page)-1].Cursor
	a.mu.Unlock()
	for i := range tasks {
		t := &tasks[i]
		if full != nil {
			a.finish(t, ack.Ack{Stage: ack.Rejected, Reason: full.Error()})
			continue
		}
		a.admit(t)
	}
	return nil
}

func (a *Agent) journalReceived(fresh []task) error {
	if a.journal == nil || len(fresh) == 0 {
		return nil
	}
	records := make([]journal.Record, len(fresh))
	for i := range fresh {
		records[i] = journal.Record{ID: fresh[i].ID, Received: fresh[i].Delivery}
	}
	err := a.journal.Write(records...)
	if err != nil && !errors.Is(err, journal.ErrFull) {
		a.log.Error("cannot journal commands", "error", err)
	}
	return err
}

// known answers for a command that was delivered before. mu is locked.
func (a *Agent) known(d *transport.Delivery) bool {
	if final := a.done.get(d.ID); final != nil {
		again := *final
		again.Attempt = d.Attempt
		a.out.putFinal(&again, nil)
		return true
	}
	t := a.tasks[d.ID]
	if t == nil {
		return false
	}
	t.Attempt = max(t.Attempt, d.Attempt)
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
		a.out.put(ack.Ack{CommandID: t.ID, Stage: stage, Attempt: t.Attempt}, true, nil)
	}
	return true
}

// admit lets a new task wait for its turn, or ends it where it has none.
func (a *Agent) admit(t *task) {
	if t.Type == command.TypeCancel {
		a.cancel(t)
		return
	}
	if t.handler == nil {
		a.finish(t, ack.Ack{Stage: ack.Rejected, Reason: "unknown type; known are " + a.knownTypes()})
		return
	}
	if t.begun {
		switch t.handler.policy.AfterCrash {
		case Interrupted:
			a.finish(t, ack.Ack{Stage: ack.Interrupted, Reason: "the agent died while the handler ran"})
			return
		case Completed:
			a.finish(t, ack.Ack{Stage: ack.Succeeded, Reason: "the agent is back"})
			return
		case RunAgain:
		}
	}
	a.supersede(t)
	a.mu.Lock()
	defer a.mu.Unlock()
	a.say(t, ack.Received, nil)
	a.start(t)
}

// queue puts t at the end of the lane, or an urgent one before the first that is not.
func (a *Agent) queue(t *task) {
	at := len(a.lane)
	if t.Urgent {
		if i := slices.IndexFunc(a.lane, func(o *task) bool { return !o.Urgent }); i >= 0 {
			at = i
		}
	}
	a.lane = slices.Insert(a.lane, at, t)
}

// supersede ends what t, which is newer, makes pointless and has not begun.
func (a *Agent) supersede(t *task) {
	if t.SupersedeKey == "" {
		return
	}
	a.mu.Lock()
	var old []*task
	for _, o := range a.lane {
		if o.SupersedeKey == t.SupersedeKey {
			old = append(old, o)
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
	var held []*task
	for _, l := range left {
		switch {
		case l.Final != nil:
			a.done.add(l.Final)
			if !l.Recorded {
				a.out.putFinal(l.Final, nil)
			}
		case l.Delivery != nil:
			made := a.newTask(l.Delivery)
			t := &made
			t.begun = t.begun || l.Started > 0
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
	a.startLane()
	return nil
}
