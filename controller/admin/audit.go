package admin

import (
	"context"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// Action is what an operator asked for.
type Action string

// The actions.
const (
	ActionSend   Action = "send"
	ActionCancel Action = "cancel"
	ActionGet    Action = "get"
	ActionList   Action = "list"
	ActionFleet  Action = "fleet"
	ActionVM     Action = "vm"
	ActionWatch  Action = "watch"
)

// Changes says whether the action does more than to look.
func (a Action) Changes() bool { return a == ActionSend || a == ActionCancel }

// Decision is what was made of it.
type Decision string

// The decisions.
const (
	Allowed Decision = "allowed" // of a send and a cancel: and is done next
	Denied  Decision = "denied"  // bad credentials, or no grant
	Failed  Decision = "failed"  // it was not done, for the reason that Code says
)

// Record is one line of an audit.
type Record struct {
	Time       time.Time          `json:"time"`
	Operator   string             `json:"operator,omitempty"` // empty: nobody has authenticated
	Remote     string             `json:"remote,omitempty"`   // address of the caller, or of what is in between
	Action     Action             `json:"action"`
	VM         string             `json:"vm_id,omitempty"`
	Type       command.Type       `json:"type,omitempty"`
	CommandID  string             `json:"command_id,omitempty"`
	Parameters command.Parameters `json:"parameters,omitempty"`      // of a send, redacted; left out where that takes more than 16 KiB
	Size       int                `json:"parameters_size,omitempty"` // in bytes, as sent
	Decision   Decision           `json:"decision"`
	Code       transport.Code     `json:"code,omitempty"`   // what the caller was told
	Known      string             `json:"known,omitempty"`  // the command of an earlier send that this one turned out to be
	Missed     int                `json:"missed,omitempty"` // refused credentials before this that were too many to record
}

// Audit keeps records of what operators ask for. It is safe for concurrent use.
type Audit interface {
	// Record returns nil once r is kept: for an action that changes something, so that a crash does not lose it.
	// Where it cannot be kept such an action does not take place.
	Record(ctx context.Context, r Record) error
}

// AuditFunc is a function that is an Audit.
type AuditFunc func(ctx context.Context, r Record) error

// Record calls f.
func (f AuditFunc) Record(ctx context.Context, r Record) error { return f(ctx, r) }

// maxParameters bounds parameters in a record, in bytes.
const maxParameters = 16 << 10

// refusals bounds how many refused credentials are recorded: whoever has none must not fill the disk, without
// which nothing could be sent any more.
type refusals struct {
	second int64 // the present one
	n      int   // in it
	missed int
}

const refusalsPerSecond = 50

// take says whether one more is to be recorded, and how many before it were not.
func (r *refusals) take(now time.Time) (missed int, ok bool) {
	if s := now.Unix(); s != r.second {
		r.second, r.n = s, 0
	}
	if r.n++; r.n > refusalsPerSecond {
		r.missed++
		return 0, false
	}
	missed, r.missed = r.missed, 0
	return missed, true
}
