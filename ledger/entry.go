package ledger

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// Entry is one command and what is known of it at one moment.
type Entry struct {
	VM      string           `json:"vm_id"`
	Seq     uint64           `json:"seq"` // position among the VM's commands, from 1
	Command *command.Command `json:"command"`
	State   ack.State        `json:"state"`

	Reason    string          `json:"reason,omitempty"`    // the latest the agent or the controller gave
	Result    json.RawMessage `json:"result,omitempty"`    // the latest the agent gave
	NotBefore time.Time       `json:"not_before,omitzero"` // of a deferral
	Cancel    *Cancel         `json:"cancel,omitempty"`    // asked for, not necessarily done
	UpdatedAt time.Time       `json:"updated_at,omitzero"` // of the latest change of stage
	Version   int             `json:"version"`             // counts changes: of two copies the one with more is the later
	History   []Step          `json:"history,omitempty"`   // oldest first
}

// Cancel is a request to cancel.
type Cancel struct {
	At     time.Time `json:"at"`
	Reason string    `json:"reason,omitempty"`
}

// Step is one change of stage.
type Step struct {
	Stage   ack.Stage `json:"stage"`
	Attempt int       `json:"attempt,omitempty"`
	At      time.Time `json:"at"`
	Reason  string    `json:"reason,omitempty"`
	Verdict bool      `json:"verdict,omitempty"` // the controller's conclusion, not the agent's word
}

// MaxHistory bounds Entry.History: of more steps the first and the latest are kept.
const MaxHistory = 32

// Lane is where the command waits.
func (e *Entry) Lane() Lane { return Lane(e.Command.Urgent) }

// NewEntry is a command as it is appended.
func NewEntry(vm string, seq uint64, cmd command.Command, now time.Time) Entry {
	e := Entry{VM: vm, Seq: seq, Command: &cmd}
	e.step(ack.State{Stage: ack.Queued}, "", now)
	return e
}

// Same says whether cmd asks for what e asked for: the same type and the same parameters. Of an entry that is
// settled no secret is left to compare, so one that differs in nothing else is the same. No digest is kept in
// its place: what fits a digest can be guessed.
func (e *Entry) Same(cmd command.Command, r Redact) bool {
	switch {
	case e.Command.Type != cmd.Type:
		return false
	case string(e.Command.Parameters) == string(cmd.Parameters):
		return true
	}
	return e.State.Settled() && string(r.kept(cmd.Type, e.Command.Parameters)) == string(r.kept(cmd.Type, cmd.Parameters))
}

// Acked adds what the agent says. It refuses, with a typed error of package transport, to let a
// command start that was cancelled, has expired, or was superseded or given up; every other ack is
// taken, and one that says nothing new changes nothing.
func (e *Entry) Acked(a ack.Ack, now time.Time) error {
	if !a.Stage.Final() {
		if err := e.mayStart(a, now); err != nil {
			return err
		}
	}
	state, changed := e.State.Merge(a)
	if !changed {
		return nil
	}
	if a.Result != nil {
		e.Result = a.Result
	}
	e.NotBefore = time.Time{}
	if a.Stage == ack.Deferred {
		e.NotBefore = now.Add(a.Delay())
	}
	e.step(state, a.Reason, now)
	return nil
}

// mayStart refuses what would run, or go on to run, a command that must not.
func (e *Entry) mayStart(a ack.Ack, now time.Time) error {
	switch {
	case e.State.Settled() && e.State.Verdict:
		return refusal(e.State.Stage, e.Reason)
	case e.State.Settled(), a.Stage != ack.Started, e.State.Stage.Running():
		return nil
	case e.Cancel != nil:
		return refusal(ack.Canceled, e.Cancel.Reason)
	case e.Command.Expired(now):
		return refusal(ack.Expired, "")
	}
	return nil
}

func refusal(stage ack.Stage, reason string) error {
	code := transport.CodeCommandDead
	switch stage {
	case ack.Canceled:
		code = transport.CodeCommandCanceled
	case ack.Expired:
		code = transport.CodeCommandExpired
	case ack.Superseded:
		code = transport.CodeCommandSuperseded
	}
	return &transport.Error{Code: code, Message: reason}
}

// Conclude settles the entry by the controller's own verdict, unless it is settled already.
func (e *Entry) Conclude(stage ack.Stage, reason string, now time.Time) {
	if state, changed := e.State.Conclude(stage); changed {
		e.step(state, reason, now)
	}
}

// Superseded is e as cmd, appended after it, concludes it.
func (e *Entry) Superseded(cmd command.Command, now time.Time, r Redact) *Entry {
	next := *e
	next.Conclude(ack.Superseded, "by "+cmd.ID, now)
	next.Command = r.command(next.Command)
	return &next
}

// Supersedable says whether cmd, appended after e, makes e pointless.
func (e *Entry) Supersedable(cmd command.Command) bool {
	return cmd.SupersedeKey != "" && e.Command.SupersedeKey == cmd.SupersedeKey &&
		!e.State.Settled() && !e.State.Stage.Running()
}

// Expirable says whether the entry is to be concluded as expired at now: a command that has started
// does not expire any more.
func (e *Entry) Expirable(now time.Time) bool {
	return e.Command.Expired(now) && !e.State.Settled() && !e.State.Stage.Running()
}

// Delivered notes that attempt n was handed to a link.
func (e *Entry) Delivered(n int, now time.Time) {
	if state, changed := e.State.Deliver(n); changed {
		e.step(state, "", now)
	}
}

// RequestCancel asks for the command to be cancelled. One that was never delivered is settled at
// once; for one that was, the agent has the last word.
func (e *Entry) RequestCancel(reason string, now time.Time) {
	if e.State.Settled() || e.Cancel != nil {
		return
	}
	e.Cancel = &Cancel{At: now, Reason: reason}
	e.Version++
	if e.State.Attempt == 0 {
		e.Conclude(ack.Canceled, reason, now)
	}
}

// step moves to a state. Only a change of stage is history: a redelivery and repeated progress
// are not.
func (e *Entry) step(s ack.State, reason string, now time.Time) {
	e.Version++
	if reason != "" {
		e.Reason = reason
	}
	if s.Stage != e.State.Stage || s.Round != e.State.Round || s.Verdict != e.State.Verdict {
		e.UpdatedAt = now
		e.remember(Step{Stage: s.Stage, Attempt: s.Attempt, At: now, Reason: reason, Verdict: s.Verdict})
	}
	e.State = s
}

// usualHistory is of most commands: queued, delivered, succeeded.
const usualHistory = 3

// remember adds a step. Snapshots of an entry share their steps, of which each sees its own; where another
// snapshot has added one already, this one goes on in a copy.
func (e *Entry) remember(s Step) {
	n := len(e.History)
	switch {
	case n >= MaxHistory:
		e.History = append(append(make([]Step, 0, MaxHistory), e.History[0]), e.History[2:]...)
	case n < cap(e.History) && e.History[: n+1 : n+1][n].Stage == "":
	default:
		e.History = append(make([]Step, 0, max(usualHistory, n+1)), e.History...)
	}
	e.History = append(e.History, s)
}

// Copy is the entry for others to keep: what they append to its history is theirs.
func (e *Entry) Copy() Entry {
	c := *e
	c.History = slices.Clip(c.History)
	return c
}

// Changed says whether an edit made after of before.
func Changed(before, after *Entry) bool {
	return before.State != after.State || before.Reason != after.Reason ||
		before.Cancel != after.Cancel || !before.NotBefore.Equal(after.NotBefore) ||
		string(before.Result) != string(after.Result)
}
