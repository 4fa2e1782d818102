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
	Seq     uint64           `json:"seq"` // position among the VM's commands, from 1 or higher; may have gaps
	Command *command.Command `json:"command"`
	State   ack.State        `json:"state"`

	Code      ack.Code        `json:"code,omitempty"`      // of the stage that it has
	Reason    string          `json:"reason,omitempty"`    // of the stage that it has; of progress the latest that was given
	Result    json.RawMessage `json:"result,omitempty"`    // of the latest stage that the agent said; of progress likewise
	NotBefore time.Time       `json:"not_before,omitzero"` // of a deferral
	Cancel    *Cancel         `json:"cancel,omitempty"`    // asked for, not necessarily done
	Instance  string          `json:"instance,omitempty"`  // of the agent that has started it, the latest; empty: none, or it has no name
	Run       string          `json:"run,omitempty"`       // that the agent calls so, with Instance; see ack.Ack
	RunEnds   time.Time       `json:"run_ends,omitzero"`   // by when the agent is to have ended the run that goes on; zero: it has no limit
	Unheard   *Unheard        `json:"unheard,omitempty"`   // nil: every delivery was answered, or its time to be has not passed
	UpdatedAt time.Time       `json:"updated_at,omitzero"` // of the latest change of stage
	Version   int             `json:"version"`             // counts changes: of two copies the one with more is the later
	History   []Step          `json:"history,omitempty"`   // oldest first

	SeenAt    time.Time `json:"seen_at,omitzero"`       // the VM was last heard of then, or later; see Seen
	Forgotten bool      `json:"vm_forgotten,omitempty"` // the VM was forgotten when this was its newest command

	// Unsent is set while it is certain that no link has had the command, and of commands with an idempotency key alone; see
	// Send. An entry without it, as an older version wrote them, may have been handed out.
	Unsent bool `json:"unsent,omitempty"`
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
	Code    ack.Code  `json:"code,omitempty"`
	Reason  string    `json:"reason,omitempty"`
	Verdict bool      `json:"verdict,omitempty"` // the controller's conclusion, not the agent's word
}

// MaxHistory bounds Entry.History: of more steps the first and the latest are kept.
const MaxHistory = 32

// Lane is where the command waits.
func (e *Entry) Lane() Lane { return Lane(e.Command.Urgent) }

// NewEntry is a command as it is appended. Its TTL counts from now, which is also when one was created that does not say it.
func NewEntry(vm string, seq uint64, cmd command.Command, now time.Time) Entry {
	if cmd.CreatedAt.IsZero() {
		cmd.CreatedAt = now
	}
	cmd.CreatedAt = command.Created(cmd.CreatedAt)
	if cmd.TTL > 0 {
		cmd.ExpiresAt, cmd.TTL = now.Add(cmd.TTL).Round(0).UTC(), 0
	}
	e := Entry{VM: vm, Seq: seq, Command: &cmd}
	e.step(ack.State{Stage: ack.Queued}, "", "", now)
	return e
}

// Same says whether cmd asks for what e asked for: the same type and the same parameters, but for secrets and white space, see
// command.Same. A retry with a fresh token is the same command, which keeps the token that it came with. Of an entry that is
// settled no secret is left to compare, and of a type that nobody has declared no more than the names of parameters. No digest
// is kept in their place: what fits a digest can be guessed.
func (e *Entry) Same(cmd command.Command, r Redact) bool {
	t, asked, asks := cmd.Type, e.Command.Parameters, cmd.Parameters
	switch {
	case e.Command.Type != t:
		return false
	case command.Same(t, asked, asks):
		return true
	}
	return e.State.Settled() && command.Same(t, r.kept(t, asked), r.kept(t, asks))
}

// Speaker is the agent's process that says an ack.
type Speaker struct {
	Instance string // empty: it has no name, so its starts are told from nobody's
	FencedBy string // the newer instance of the VM that has taken over; empty: none
}

// Acked adds what an agent says, unless it is of an earlier command of the same ID. It refuses, with a typed error of package transport, to let a
// command start that was cancelled, has expired, was superseded or given up, has ended, or that another instance
// has started and not ended (unless Ack.Again says that this does no harm). From an instance that was fenced it takes
// ends only, and a deferral of what another run has started changes nothing. Every other ack is taken, and one that says nothing new changes nothing.
func (e *Entry) Acked(a ack.Ack, by Speaker, now time.Time) error {
	if command.Reused(e.Command.CreatedAt, a.CreatedAt) {
		return transport.Errorf(transport.CodeUnknownCommand, "the command of this ID is another, created at %s", e.Command.CreatedAt.Format(time.RFC3339Nano))
	}
	if !a.Stage.Final() {
		if by.FencedBy != "" {
			return transport.Errorf(transport.CodeSuperseded, "instance %s of %s has taken over from %s", by.FencedBy, e.VM, by.Instance)
		}
		if e.anew(a, by) {
			a.Attempt = e.State.Attempt
			if e.State.Stage == ack.Deferred {
				a.Attempt++
			}
		}
		if err := e.mayStart(a, by, now); err != nil {
			return err
		}
		if a.Stage == ack.Deferred && e.startedElsewhere(a, by) {
			return nil // who has not started it cannot defer it for who has
		}
	}
	state, changed := e.State.Merge(a)
	anew := !e.State.Stage.Running() // where state runs
	if e.begins(a, state, by) && (e.Instance != by.Instance || e.Run != a.Run) {
		e.Instance, e.Run, changed, anew = by.Instance, a.Run, true, true
	}
	heard := e.Unheard != nil
	e.Unheard = nil // also a word that says nothing new is one
	if !changed {
		if heard {
			e.Version++
		}
		return nil
	}
	if a.Result != nil || state.Stage != e.State.Stage || state.Round != e.State.Round {
		e.Result = a.Result
	}
	e.Unsent = false
	switch {
	case a.Stage == ack.Deferred:
		e.NotBefore = now.Add(a.Delay())
	case state.Stage != ack.Deferred:
		e.NotBefore = time.Time{}
	}
	e.step(state, a.Code, a.Reason, now)
	if anew && state.Stage.Running() {
		e.RunEnds = e.runEnds(a, now)
	}
	return nil
}

// begins says whether the command's run is the speaker's once a has made state of e.State. Who says progress, or defers it,
// has started it, though that was not heard.
func (e *Entry) begins(a ack.Ack, state ack.State, by Speaker) bool {
	switch {
	case a.Stage.Running() && state.Stage.Running(), a.Stage == ack.Deferred && state.Stage == ack.Deferred:
		unnamed := e.Run == "" && (e.Instance == "" || e.Instance == by.Instance)
		return !e.State.Stage.Running() && state != e.State || unnamed || a.Again && by.Instance != ""
	}
	return false
}

// mayStart refuses what would run, or go on to run, a command that must not.
func (e *Entry) mayStart(a ack.Ack, by Speaker, now time.Time) error {
	switch {
	case e.State.Settled() && e.State.Verdict:
		return refusal(e.State.Stage, e.Reason)
	case a.Stage != ack.Started:
		return nil
	case e.State.Settled():
		return transport.Errorf(transport.CodeCommandSettled, "it has ended as %s", e.State.Stage)
	case e.startedElsewhere(a, by):
		return transport.Errorf(transport.CodeCommandStarted, "another run has begun, of instance %s", e.Instance)
	case e.State.Stage.Running():
		return nil
	case e.Cancel != nil:
		return refusal(ack.Canceled, e.Cancel.Reason)
	case e.Command.Expired(now):
		return refusal(ack.Expired, "")
	}
	return nil
}

// anew says whether a is a start of an attempt that is over, by another run than that which began it: an agent that was
// started again knows of no deferral, nor of later deliveries. It is taken for a start of the latest attempt, so that no other
// run may start that.
func (e *Entry) anew(a ack.Ack, by Speaker) bool {
	if a.Stage != ack.Started || e.State.Stage.Running() || e.State.Settled() || !e.another(a, by) {
		return false
	}
	next, _ := e.State.Merge(a)
	return !next.Stage.Running()
}

// another says whether a start is of another run than the entry knows of.
func (e *Entry) another(a ack.Ack, by Speaker) bool {
	return by.Instance != "" && e.Instance != by.Instance || a.Run != "" && e.Run != a.Run
}

// startedElsewhere says whether another run of the command is under way, of the same instance or another.
func (e *Entry) startedElsewhere(a ack.Ack, by Speaker) bool {
	if a.Again || !e.State.Stage.Running() {
		return false
	}
	return by.Instance != "" && e.Instance != by.Instance && e.Instance != "" || a.Run != "" && e.Run != a.Run && e.Run != ""
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

// Conclude settles the entry by the controller's own verdict, unless it is settled already. The code and the reason may be
// empty.
func (e *Entry) Conclude(stage ack.Stage, code ack.Code, reason string, now time.Time) {
	if state, changed := e.State.Conclude(stage); changed {
		e.step(state, code, reason, now)
	}
}

// Superseded is e as cmd, appended after it, concludes it.
func (e *Entry) Superseded(cmd command.Command, now time.Time, r Redact) *Entry {
	next := *e
	next.Conclude(ack.Superseded, "", "by "+cmd.ID, now)
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
		e.step(state, "", "", now)
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
		e.Conclude(ack.Canceled, "", reason, now)
	}
}

// step moves to a state. Only a change of stage is history: a redelivery and repeated progress
// are not.
func (e *Entry) step(s ack.State, code ack.Code, reason string, now time.Time) {
	e.Version++
	if !s.Stage.Running() {
		e.RunEnds = time.Time{}
	}
	if s.Stage != e.State.Stage || s.Round != e.State.Round || s.Verdict != e.State.Verdict || s.Abandoned != e.State.Abandoned {
		e.UpdatedAt, e.Code, e.Reason = now, code, reason
		e.remember(Step{Stage: s.Stage, Attempt: s.Attempt, At: now, Code: code, Reason: reason, Verdict: s.Verdict})
	} else if reason != "" {
		e.Reason = reason
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
	return before.State != after.State || before.Code != after.Code || before.Reason != after.Reason ||
		before.Cancel != after.Cancel || before.Unheard != after.Unheard || before.Instance != after.Instance || before.Run != after.Run ||
		!before.NotBefore.Equal(after.NotBefore) || !before.RunEnds.Equal(after.RunEnds) || !before.SeenAt.Equal(after.SeenAt) ||
		before.Forgotten != after.Forgotten || before.Unsent != after.Unsent ||
		string(before.Result) != string(after.Result)
}
