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

// MaxText bounds Reason and MaxResult bounds Result and Data, in bytes.
const (
	MaxText   = 4 << 10
	MaxResult = 64 << 10
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

	// Reason is for people: why it failed, was rejected, cancelled or deferred.
	Reason string `json:"reason,omitempty"`
	// Result is what a handler returned, with a final stage, or what it reports, with progress.
	Result json.RawMessage `json:"result,omitempty"`
	// RetryAfter goes with deferred, in seconds: not before this long from now.
	RetryAfter float64 `json:"retry_after,omitempty"`
}

// Validate checks that an agent may say a.
func (a Ack) Validate() error {
	switch {
	case a.CommandID == "":
		return fmt.Errorf("%w: command_id is empty", ErrInvalid)
	case a.Stage == "" || a.Stage == Queued || a.Stage == Delivered || a.Stage == Dead || !a.Stage.Known():
		return fmt.Errorf("%w: status %.40q is not for an agent to say", ErrInvalid, string(a.Stage))
	case a.Attempt < 0:
		return fmt.Errorf("%w: attempt is negative", ErrInvalid)
	case len(a.Reason) > MaxText:
		return fmt.Errorf("%w: reason has %d bytes, at most %d are allowed", ErrInvalid, len(a.Reason), MaxText)
	case len(a.Result) > MaxResult:
		return fmt.Errorf("%w: result has %d bytes, at most %d are allowed", ErrInvalid, len(a.Result), MaxResult)
	case a.RetryAfter < 0 || a.RetryAfter > MaxRetryAfter.Seconds():
		return fmt.Errorf("%w: retry_after is not within 0 and %.0f seconds", ErrInvalid, MaxRetryAfter.Seconds())
	}
	return nil
}

// MaxRetryAfter is the longest that an agent may defer a command for at a time.
const MaxRetryAfter = 24 * time.Hour

// Delay is RetryAfter as a duration.
func (a Ack) Delay() time.Duration { return time.Duration(a.RetryAfter * float64(time.Second)) }

// Size bounds what a takes on a wire, in bytes: text may grow to six times its length as JSON.
func (a Ack) Size() int { return 256 + 6*(len(a.CommandID)+len(a.Reason)) + len(a.Result) }

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
