package agent

import (
	"errors"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
)

// noDiskFor is how long such a command waits until it is tried again.
const noDiskFor = 5 * time.Second

// A command that cannot be journalled is not settled for that, and nothing after it in its lane overtakes it: both wait in
// the lane, unwritten, and are deferred. The controller delivers them again if this process is gone before they are
// written.

// journalReceived journals new tasks. Those that cannot be journalled now are unwritten after that, and one that never can
// is invalid.
func (a *Agent) journalReceived(fresh []task) {
	if a.journal == nil {
		return
	}
	var tasks []*task
	var records []journal.Record
	a.mu.Lock()
	for i := range fresh {
		t := &fresh[i]
		switch {
		case t.invalid != nil || t.handler == nil: // it ends at once; a cancel needs no disk, and comes again after a crash
		case a.behindUnwritten(t):
			t.unwritten = true
		default:
			tasks, records = append(tasks, t), append(records, t.received())
		}
	}
	a.mu.Unlock()
	err := a.journal.Write(records...)
	if err == nil {
		return
	}
	alone := errors.Is(err, journal.ErrFull) || errors.Is(err, journal.ErrTooLarge) // some may fit
	full := map[*lane]bool{}
	for i, t := range tasks {
		l := a.laneOf(t)
		if alone && !full[l] {
			err = a.journal.Write(records[i])
		}
		switch {
		case alone && !full[l] && err == nil:
		case errors.Is(err, journal.ErrTooLarge) && !full[l] && alone:
			t.invalid = err
		default:
			t.unwritten, full[l] = true, true
		}
	}
	if len(full) > 0 {
		a.log.Error("the journal cannot be written: commands are deferred until it can", "error", err, "retry_in", noDiskFor)
	}
}

// received is the record of t. It has a copy of the delivery, which changes when the command comes again. mu is locked.
func (t *task) received() journal.Record {
	d := *t.Delivery
	return journal.Record{ID: t.ID, Received: &d}
}

// behindUnwritten says whether something of t's lane is unwritten. mu is locked.
func (a *Agent) behindUnwritten(t *task) bool {
	return nextUnwritten(a.laneOf(t)) != nil
}

func nextUnwritten(l *lane) *task {
	if i := slices.IndexFunc(l.waits, func(t *task) bool { return t.unwritten }); i >= 0 {
		return l.waits[i]
	}
	return nil
}

// waitForDisk defers t, which is unwritten and in its lane, until it could be written. mu is locked.
func (a *Agent) waitForDisk(t *task) {
	t.deferred = true
	a.sayNoDisk(t)
	if !a.unwritten {
		a.unwritten = true
		a.work(a.writeUnwritten)
	}
}

// sayNoDisk says that t is deferred. mu is locked.
func (a *Agent) sayNoDisk(t *task) {
	t.stage = ack.Deferred
	a.said(t)
	said := noDisk(t.ID, t.Attempt)
	said.Run = t.named()
	a.out.put(said, true, nil)
}

func noDisk(id string, attempt int) ack.Ack {
	return ack.Ack{
		CommandID: id, Stage: ack.Deferred, Attempt: attempt, Time: time.Now().UTC(), Code: ack.CodeNoDisk,
		Reason: "the agent's journal cannot be written now", RetryAfter: noDiskFor.Seconds(),
	}
}

// writeUnwritten writes what is unwritten when it can, in the order of each lane, until nothing is or the agent stops.
func (a *Agent) writeUnwritten() {
	again := time.NewTicker(noDiskFor)
	defer again.Stop()
	for {
		select {
		case <-again.C:
		case <-a.handling.Done():
			return
		}
		if a.writeLanes() {
			a.log.Info("the journal is written again")
			return
		}
	}
}

// writeLanes returns true when nothing is unwritten any more.
func (a *Agent) writeLanes() bool {
	for _, l := range [...]*lane{&a.urgent, &a.normal, &a.beside} {
		for a.writeNext(l) {
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range [...]*lane{&a.urgent, &a.normal, &a.beside} {
		if nextUnwritten(l) != nil {
			return false
		}
	}
	a.unwritten = false
	return true
}

// writeNext writes the next of a lane, and returns false where there is none or it cannot.
func (a *Agent) writeNext(l *lane) bool {
	a.mu.Lock()
	t := nextUnwritten(l)
	if t == nil {
		a.mu.Unlock()
		return false
	}
	record := t.received()
	a.mu.Unlock()
	err := a.journal.Write(record)
	if errors.Is(err, journal.ErrTooLarge) {
		a.drop(t, ack.Ack{Stage: ack.Rejected, Reason: err.Error()}, nil)
		return true
	}
	if err != nil {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	t.unwritten, t.deferred = false, false
	t.Attempt++     // of which a deferral was said
	if a.waits(t) { // else it was dropped meanwhile
		a.say(t, ack.Received, nil)
		a.runLanes()
	}
	return true
}

// journalEnd journals what became of t. Where that cannot be now, it is with the next that can.
func (a *Agent) journalEnd(t *task, final *ack.Ack) {
	if a.journal == nil || t.Type == command.TypeCancel {
		return
	}
	kept := *final // the journal keeps it, and final changes yet
	record := journal.Record{ID: t.ID, Finished: &kept, Created: t.CreatedAt}
	if err := a.journal.Write(record); err != nil {
		a.log.Error("cannot journal an outcome now", "command_id", t.ID, "type", t.Type, "error", err)
		_ = a.journal.Note(record)
	}
}
