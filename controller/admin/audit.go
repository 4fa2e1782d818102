package admin

import (
	"context"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// Action is what an operator asked for.
type Action string

// The actions.
const (
	ActionSend      Action = "send"
	ActionCancel    Action = "cancel"
	ActionSettle    Action = "settle"
	ActionForget    Action = "forget"
	ActionGet       Action = "get"
	ActionList      Action = "list"
	ActionUnsettled Action = "unsettled"
	ActionFleet     Action = "fleet"
	ActionVM        Action = "vm"
	ActionWatch     Action = "watch"
)

// Changes says whether the action does more than to look.
func (a Action) Changes() bool {
	return a == ActionSend || a == ActionCancel || a == ActionSettle || a == ActionForget
}

// Decision is what was made of it.
type Decision string

// The decisions.
const (
	Allowed Decision = "allowed" // of what changes something: and is done next
	Denied  Decision = "denied"  // bad credentials, or no grant
	Failed  Decision = "failed"  // it was not done, for the reason that Code says
)

// Record is one line of an audit. Each text of it is bounded: by 128 bytes where nothing else is said.
type Record struct {
	Time       time.Time          `json:"time"`
	Operator   string             `json:"operator,omitempty"` // empty: nobody has authenticated
	Remote     string             `json:"remote,omitempty"`   // address of the caller, or of what is in between
	Action     Action             `json:"action"`
	VM         string             `json:"vm_id,omitempty"`
	Type       command.Type       `json:"type,omitempty"`
	CommandID  string             `json:"command_id,omitempty"`      // of a cancel and a settle: what that is about
	Stage      ack.Stage          `json:"stage,omitempty"`           // of a settle: as what the command is to end
	Force      bool               `json:"force,omitempty"`           // of a forget
	Parameters command.Parameters `json:"parameters,omitempty"`      // of a send, redacted; left out beyond 16 KiB, and beyond 256 bytes of what is not done
	Size       int                `json:"parameters_size,omitempty"` // in bytes, as sent

	// Of a send.
	OwnID          bool             `json:"own_id,omitempty"` // the caller has chosen the ID
	IdempotencyKey string           `json:"idempotency_key,omitempty"`
	Supersede      string           `json:"supersede,omitempty"`
	Urgent         bool             `json:"urgent,omitempty"`
	TTL            command.Duration `json:"ttl,omitzero"`
	RunTimeout     command.Duration `json:"run_timeout,omitzero"`
	Target         string           `json:"target,omitempty"` // of a command of type cancel: the ID of what it cancels

	Decision Decision       `json:"decision"`
	Code     transport.Code `json:"code,omitempty"`   // what the caller was told
	Known    string         `json:"known,omitempty"`  // the command of an earlier send that this one turned out to be
	Ended    []string       `json:"ended,omitempty"`  // what a send has ended by its supersede key, and a forget, at most 64; more are in further records
	Missed   int            `json:"missed,omitempty"` // records before this that were too many: of this operator, or of all who have not authenticated
}

// bound cuts each text that somebody else has chosen.
func (r *Record) bound() {
	if r.Decision != Allowed && len(r.Parameters) > maxDenied { // who may do nothing may still ask for much
		r.Parameters = nil
	}
	for _, s := range []*string{&r.Operator, &r.Remote, &r.VM, (*string)(&r.Type), &r.CommandID, (*string)(&r.Stage), &r.IdempotencyKey, &r.Supersede, &r.Target, &r.Known} {
		*s = brief(*s)
	}
}

// brief keeps of a text as much as a name may have.
func brief(s string) string {
	if len(s) <= command.MaxIDLength {
		return s
	}
	return strings.ToValidUTF8(s[:command.MaxIDLength], "") // not half a character
}

// maxEnded bounds how many commands one record names.
const maxEnded = 64

// changes says whether the record is of something that is done, so that it must not be left out.
func (r *Record) changes() bool {
	return r.Action.Changes() && r.Decision == Allowed && r.Known == ""
}

// Audit keeps records of what operators ask for. It is safe for concurrent use. What is allowed and changes something is
// always recorded, before it is done. Of all else an operator gets 10 records a second, and all who have not
// authenticated get one: the next says how many were left out. Where what was allowed then changes nothing, as a send of an
// ID that is known, an operator has 16 MiB of records, and 8 KiB more each second; beyond that nothing more that changes
// something is done for it until it has waited, as rate_limited says.
type Audit interface {
	// Record returns nil once r is kept: for an action that changes something, so that a crash does not lose it.
	// Where it cannot be kept such an action does not take place.
	Record(ctx context.Context, r Record) error
}

// AuditFunc is a function that is an Audit.
type AuditFunc func(ctx context.Context, r Record) error

// Record calls f.
func (f AuditFunc) Record(ctx context.Context, r Record) error { return f(ctx, r) }

// Parameters in a record are bounded, in bytes: those of what is done next, and of what is not done.
const (
	maxParameters = 16 << 10
	maxDenied     = 256
)
