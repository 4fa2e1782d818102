package ledger

import (
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
)

// Codes of verdicts.
const (
	CodeVMGone  ack.Code = "vm_gone" // the VM was absent for too long, or forgotten
	CodeSettled ack.Code = "settled" // somebody has said what became of it, in the agent's place
)

// Gone concludes the entry because its VM will not come back, unless it is settled already: what has not begun is dead, and
// of what has begun it is not known how far it came. What is deferred has not begun.
func (e *Entry) Gone(reason string, now time.Time) {
	stage := ack.Dead
	if e.State.Stage.Running() {
		stage = ack.Interrupted
	}
	e.Conclude(stage, CodeVMGone, reason, now)
}

// Seen notes when the VM was last heard of, so that a later process knows it.
func (e *Entry) Seen(at time.Time) {
	if at.After(e.SeenAt) {
		e.SeenAt = at
		e.Version++
	}
}

// FromAgent says whether the entry shows that the VM's agent was ever heard of.
func (e *Entry) FromAgent() bool {
	return !e.SeenAt.IsZero() || slices.ContainsFunc(e.History, func(s Step) bool {
		return !s.Verdict && s.Stage != ack.Queued && s.Stage != ack.Delivered
	})
}

// Heard is the latest time at which the entry shows that its VM was there. A command that was only just sent shows that,
// too: its VM is given as much time from then on.
func (e *Entry) Heard() time.Time {
	if e.SeenAt.After(e.UpdatedAt) {
		return e.SeenAt
	}
	return e.UpdatedAt
}

// Forget marks the entry, the newest of its VM, since the VM was forgotten.
func (e *Entry) Forget() {
	if !e.Forgotten {
		e.Forgotten = true
		e.Version++
	}
}
