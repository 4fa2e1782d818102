// Package ack defines what an agent says of a command, and how what is said adds up.
//
// A command goes through stages: received → started → progress* → one final stage. An [Ack] is a
// fact about one command ID; it may be said again, arrive late, or arrive through another link
// than the command did. [State.Merge] adds a fact to what is known, so that a stage never goes
// backwards and a final one stays.
package ack

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/miglink/miglink/internal/document"
)

// Stage is how far a command has come.
type Stage string

// The stages. An agent says all of them but Queued, Delivered and Dead, which only a controller
// assigns.
const (
	Queued    Stage = "queued"    // durable at the controller, not sent yet
	Delivered Stage = "delivered" // handed to a link, not heard of since
	Received  Stage = "received"  // the agent has it
	Started   Stage = "started"   // the handler runs, or is about to
	Progress  Stage = "progress"  // the handler still runs
	Deferred  Stage = "deferred"  // the agent asks to try again, no sooner than RetryAfter from now

	Succeeded   Stage = "succeeded"   // "processed" and "completed" on the wire are this, too
	Failed      Stage = "failed"      // the handler ran and did not do it
	Rejected    Stage = "rejected"    // not run: bad parameters, unknown type, no room
	Expired     Stage = "expired"     // not run: its time had passed
	Canceled    Stage = "canceled"    // not run, or ended early, because it was cancelled
	Superseded  Stage = "superseded"  // not run: a later command of the same key came first
	Interrupted Stage = "interrupted" // started, and the agent died: how far it came is not known
	Dead        Stage = "dead"        // given up: delivered as often as allowed, never heard of
)

// Limits on the fields of an ack. They hold on every transport.
const (
	MaxText   = 4 << 10           // bytes, of a reason
	MaxResult = 64 << 10          // bytes
	MaxDepth  = document.MaxDepth // objects and arrays within each other, in a result

	maxID      = 128     // bytes, of a command's ID: command.MaxIDLength, of a package that is not below this one
	maxRun     = 64      // bytes
	maxAttempt = 1 << 30 // so that there is a next one on every machine, and in Protocol Buffers
)

// ErrInvalid is wrapped by every validation error of this package.
var ErrInvalid = errors.New("invalid ack")

// rank orders the stages of one attempt; all final stages share the top.
func (s Stage) rank() int {
	switch s {
	case "", Queued:
		return 0
	case Delivered:
		return 1
	case Received:
		return 2
	case Started:
		return 3
	case Progress:
		return 4
	case Deferred:
		return 5
	case Succeeded, Failed, Rejected, Expired, Canceled, Superseded, Interrupted, Dead:
		return 6
	}
	return -1
}

// Final says whether nothing comes after s.
func (s Stage) Final() bool { return s.rank() == 6 }

// Known says whether s is a stage of this package.
func (s Stage) Known() bool { return s.rank() >= 0 }

// Running says whether s means that the handler has begun and not ended.
func (s Stage) Running() bool { return s == Started || s == Progress }

// UnmarshalText reads a stage, and the aliases "processed" and "completed" of succeeded. Any other
// text is kept as it is, for [Ack.Validate] to refuse: one bad ack must not spoil those beside it.
func (s *Stage) UnmarshalText(b []byte) error {
	switch v := Stage(b); v {
	case "processed", "completed":
		*s = Succeeded
	default:
		*s = v
	}
	return nil
}

// Ack is one fact about one command.
type Ack struct {
	CommandID string    `json:"command_id"`
	Stage     Stage     `json:"status"`
	Attempt   int       `json:"attempt,omitempty"` // of the delivery it is about; 0 is the latest
	Time      time.Time `json:"timestamp,omitzero"`
	// CreatedAt is that of the command, where another of the same ID may have taken its place by now: of what is said again
	// after a link has ended, or long after. Zero is not said.
	CreatedAt time.Time `json:"created_at,omitzero"`

	// Code is for programs: why it has come to this stage, where the stage alone does not say it.
	Code Code `json:"code,omitempty"`
	// Reason is for people: why it failed, was rejected, cancelled or deferred.
	Reason string `json:"reason,omitempty"`
	// Result is what a handler returned, with a final stage, or what it reports, with progress.
	Result json.RawMessage `json:"result,omitempty"`
	// Run goes with started and deferred: a name for this run of the handler, said again whenever they are. Two machines may have one
	// instance, as after a VM was cloned while its agent ran; two runs have no common name.
	Run string `json:"run,omitempty"`
	// Again goes with started: to run the command is safe also where another instance of the agent runs it, or has.
	Again bool `json:"again,omitempty"`
	// EndsIn goes with started and progress of a run that is limited, in milliseconds from when the run began, at most MaxEndsIn:
	// by then the agent has ended it, or given it up. Zero is not said.
	EndsIn uint64 `json:"ends_in,omitempty"`
	// RetryAfter goes with deferred, in seconds: not before this long from now.
	RetryAfter float64 `json:"retry_after,omitempty"`
}

// Validate checks that an agent may say a, and that whoever records it, or passes it on, can read it again: a result is
// JSON of at most MaxResult bytes and MaxDepth levels, in UTF-8, without NUL and half surrogate pairs in its strings; a
// reason is UTF-8 without NUL. An error wraps ErrInvalid, names the field as it is on the wire, and quotes no result.
func (a Ack) Validate() error {
	switch {
	case a.CommandID == "":
		return fmt.Errorf("%w: command_id is empty", ErrInvalid)
	case a.Stage == "" || a.Stage == Queued || a.Stage == Delivered || a.Stage == Dead || !a.Stage.Known():
		return fmt.Errorf("%w: status %.40q is not for an agent to say", ErrInvalid, string(a.Stage))
	case a.Attempt < 0 || a.Attempt > maxAttempt:
		return fmt.Errorf("%w: attempt is %d, 0 to %d are allowed", ErrInvalid, a.Attempt, maxAttempt)
	case a.EndsIn > uint64(MaxEndsIn.Milliseconds()):
		return fmt.Errorf("%w: ends_in is %d, 0 to %d milliseconds are allowed", ErrInvalid, a.EndsIn, MaxEndsIn.Milliseconds())
	case !(a.RetryAfter >= 0 && a.RetryAfter <= MaxRetryAfter.Seconds()): // which is so of what is no number
		return fmt.Errorf("%w: retry_after is %v, 0 to %.0f seconds are allowed", ErrInvalid, a.RetryAfter, MaxRetryAfter.Seconds())
	}
	err := document.CheckName("command_id", a.CommandID, maxID)
	if err == nil {
		err = a.Code.Validate()
	}
	if y := a.CreatedAt.Year(); err == nil && (y < 0 || y > 9999) {
		err = fmt.Errorf("created_at is in the year %d, 0 to 9999 are allowed", y)
	}
	if err == nil && a.Reason != "" {
		err = document.CheckText("reason", a.Reason, MaxText)
	}
	if err == nil && a.Run != "" {
		err = document.CheckName("run", a.Run, maxRun)
	}
	if err == nil && len(a.Result) > 0 {
		err = document.Check("result", a.Result, document.Rules{Bytes: MaxResult})
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// MaxRetryAfter is the longest that an agent may defer a command for at a time.
const MaxRetryAfter = 24 * time.Hour

// MaxEndsIn is the most that an agent may say a run takes: the longest limit of a run, and a day to end it.
const MaxEndsIn = 8 * 24 * time.Hour

// Abandons says whether a ends a run that may still be going on: it has outlived its limit, and its handler may not have
// returned. Should the handler come to another end later, that counts.
func (a Ack) Abandons() bool { return a.Stage == Failed && a.Code == CodeRunTimeout }

// Delay is RetryAfter as a duration.
func (a Ack) Delay() time.Duration { return time.Duration(a.RetryAfter * float64(time.Second)) }

// Size bounds what a takes on a wire, in bytes: text may grow to six times its length as JSON.
func (a Ack) Size() int {
	return 256 + 6*(len(a.CommandID)+len(a.Reason)) + len(a.Code) + len(a.Result)
}

// Limits of one message, which Batch keeps to. They fit every transport.
const (
	MaxBatch      = 256
	MaxBatchBytes = 512 << 10
)

// Batch returns how many of the acks, from the first, go into one message: at least one, if there is
// any.
func Batch(acks []Ack) int {
	size := 0
	for i, a := range acks {
		if size += a.Size(); i == MaxBatch || size > MaxBatchBytes && i > 0 {
			return i
		}
	}
	return len(acks)
}
