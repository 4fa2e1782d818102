package admin

import (
	"encoding/json"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// Send is a command to be sent.
type Send struct {
	VM             string             `json:"vm_id"`
	Type           command.Type       `json:"type"`
	Parameters     command.Parameters `json:"parameters,omitempty"`
	ID             string             `json:"id,omitempty"`
	CreatedAt      time.Time          `json:"created_at,omitzero"` // of a command that is sent again, as it was then; see command.Command
	TTL            command.Duration   `json:"ttl,omitzero"`
	IdempotencyKey string             `json:"idempotency_key,omitempty"`
	Supersede      string             `json:"supersede,omitempty"`
	RunTimeout     command.Duration   `json:"run_timeout,omitzero"`
	Urgent         bool               `json:"urgent,omitempty"`
}

// Command is the command that s describes, validated.
func (s Send) Command() (command.Command, error) {
	return command.NewRaw(s.Type, s.Parameters, command.Options{
		ID:             s.ID,
		CreatedAt:      s.CreatedAt,
		TTL:            time.Duration(s.TTL),
		IdempotencyKey: s.IdempotencyKey,
		SupersedeKey:   s.Supersede,
		RunTimeout:     time.Duration(s.RunTimeout),
		Urgent:         s.Urgent,
	})
}

// Status is what is known of a command.
type Status struct {
	ID        string          `json:"id"`
	VM        string          `json:"vm_id"`
	Seq       uint64          `json:"seq"`
	Type      command.Type    `json:"type"`
	Stage     ack.Stage       `json:"stage"`
	Settled   bool            `json:"settled"`
	Verdict   bool            `json:"verdict,omitempty"` // settled by the controller, not by the agent's word
	Attempt   int             `json:"attempt,omitempty"`
	Code      ack.Code        `json:"code,omitempty"`
	Reason    string          `json:"reason,omitempty"`
	Result    json.RawMessage `json:"result,omitempty"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	ExpiresAt time.Time       `json:"expires_at,omitzero"`
	Urgent    bool            `json:"urgent,omitempty"`
	// RunTimeout is the limit of a run that the command has; RunEnds is by when the agent is to have ended the one that goes on.
	RunTimeout command.Duration `json:"run_timeout,omitzero"`
	RunEnds    time.Time        `json:"run_ends,omitzero"`
	Cancel     *ledger.Cancel   `json:"cancel,omitempty"`
	History    []ledger.Step    `json:"history"`
	Created    *bool            `json:"created,omitempty"`  // of a send: false means that it was known already
	VMKnown    *bool            `json:"vm_known,omitempty"` // of a send: false means that nothing was ever heard of the VM
}

// StatusOf is the status of an entry.
func StatusOf(e ledger.Entry) Status {
	return Status{
		ID:         e.Command.ID,
		VM:         e.VM,
		Seq:        e.Seq,
		Type:       e.Command.Type,
		Stage:      e.State.Stage,
		Settled:    e.State.Settled(),
		Verdict:    e.State.Verdict,
		Attempt:    e.State.Attempt,
		Code:       e.Code,
		Reason:     e.Reason,
		Result:     e.Result,
		CreatedAt:  e.Command.CreatedAt,
		UpdatedAt:  e.UpdatedAt,
		ExpiresAt:  e.Command.ExpiresAt,
		Urgent:     e.Command.Urgent,
		RunTimeout: command.Duration(e.Command.RunTimeout),
		RunEnds:    e.RunEnds,
		Cancel:     e.Cancel,
		History:    e.History,
	}
}
