package ledger

import (
	"errors"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
)

// KeyFree says whether another command may take the entry's idempotency key over, so that sending again does something: the
// command was not run and never will be, and nobody has decided that. For that it takes
//
//   - the word of the agent, which has expired or rejected it, and never called a handler for it; or
//   - the controller's verdict that it has expired, or that its VM is gone, on a command that no link can have had (Unsent).
//
// Everything else keeps its key: what may have been run, or a job could run twice under one key; and what was cancelled,
// superseded or settled by hand, or a repeated send would undo what somebody has decided since.
func (e *Entry) KeyFree() bool {
	if !e.State.Settled() || e.Cancel != nil || e.mayHaveBegun() {
		return false
	}
	switch s := e.State; {
	case s.Verdict:
		return e.Unsent && (s.Stage == ack.Expired || s.Stage == ack.Dead && e.Code == CodeVMGone)
	default:
		return (s.Stage == ack.Expired || s.Stage == ack.Rejected) && e.Code != ack.CodeBegun
	}
}

// Belied says whether a, an agent's word, is that a command has run whose key is free, so that another may run under it. No
// agent that keeps to the protocol says that: two machines may have the same commands, as after a VM was cloned.
func (e *Entry) Belied(a ack.Ack) bool {
	switch a.Stage {
	case ack.Succeeded, ack.Failed, ack.Interrupted:
		return e.KeyFree()
	}
	return false
}

// mayHaveBegun says whether an agent was heard to run the command, or to defer it.
func (e *Entry) mayHaveBegun() bool {
	return e.Instance != "" || e.Run != "" || e.State.Round > 0 || slices.ContainsFunc(e.History, func(s Step) bool {
		return s.Stage.Running() || s.Stage == ack.Deferred
	})
}

// errSettled refuses what is only for commands that are not settled.
var errSettled = errors.New("ledger: the command is settled")

// Send notes that the command is about to be handed to a link, which has to be durable before it is: from then on a
// verdict is not proof that it was not run. A command that is settled must not be handed out: that is an error.
func (e *Entry) Send() error {
	switch {
	case e.State.Settled():
		return errSettled
	case e.Unsent:
		e.Unsent = false
		e.Version++
	}
	return nil
}

// New is the entry of a command as Append stores it. For implementations of Ledger.
func (l Limits) New(vm string, seq uint64, cmd command.Command, now time.Time) *Entry {
	e := NewEntry(vm, seq, cmd, now)
	e.Unsent = l.Away && cmd.IdempotencyKey != ""
	return &e
}
