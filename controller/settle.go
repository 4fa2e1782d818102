package controller

import (
	"context"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Settle ends a command of which nobody will say any more what became of it, by the caller's word: as stage, which is a final
// one, by default dead, with the code settled. It returns the command as it is then. Nothing is said to the agent. It may not start the command any
// more, and what waited behind the command goes on; should the agent say later what came of it, that replaces the caller's
// word.
//
// A command that has ended otherwise before is ErrInvalid, and stays as it is.
func (c *Controller) Settle(ctx context.Context, id string, stage ack.Stage, reason string) (ledger.Entry, error) {
	if stage == "" {
		stage = ack.Dead
	}
	if !stage.Final() {
		return ledger.Entry{}, transport.Errorf(transport.CodeInvalid, "stage is %.40q, and has to be a final one: succeeded, failed, rejected, expired, canceled, superseded, interrupted or dead", string(stage))
	}
	if err := checkReason(reason); err != nil {
		return ledger.Entry{}, err
	}
	e, err := c.Get(ctx, id)
	if err != nil {
		return e, err
	}
	now := time.Now()
	edited, err := c.ledger.Update(ctx, e.VM, ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		e.Conclude(stage, ledger.CodeSettled, reason, now)
		return nil
	}})
	if err == nil {
		err = edited[0].Err
	}
	if err != nil {
		return e, getError(err)
	}
	e = edited[0].Entry.Copy()
	switch {
	case edited[0].Changed:
		c.changed(edited[0].Entry)
	case e.State.Stage != stage:
		return e, transport.Errorf(transport.CodeInvalid, "the command has ended before, as %s", e.State.Stage)
	}
	return e, nil
}

// checkReason looks at what somebody gives as a reason before it goes into the ledger, or to an agent.
func checkReason(reason string) error {
	err := document.CheckText("reason", reason, ack.MaxText)
	if err == nil {
		return nil
	}
	code := transport.CodeInvalid
	if len(reason) > ack.MaxText {
		code = transport.CodeTooLarge
	}
	return transport.Errorf(code, "%s", err)
}
