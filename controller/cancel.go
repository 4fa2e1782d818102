package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Cancel asks for a command to be cancelled and returns it as it is then. The request is durable. A
// command that was never delivered is settled at once. One that was is refused to start from now on,
// and its agent is asked to give it up: it answers canceled, or, where the command finished first,
// what became of it. Receipt(id).Wait waits for that.
func (c *Controller) Cancel(ctx context.Context, id, reason string) (ledger.Entry, error) {
	// Before the request is recorded: it goes to the agent as a parameter, and into the ledger.
	if err := checkReason(reason); err != nil {
		return ledger.Entry{}, err
	}
	e, err := c.Get(ctx, id)
	if err != nil {
		return e, err
	}
	if e.Command.Type == command.TypeCancel {
		return e, transport.Errorf(transport.CodeInvalid, "a cancel command cannot be cancelled")
	}
	now := time.Now()
	edited, err := c.ledger.Update(ctx, e.VM, ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		e.RequestCancel(reason, now)
		return nil
	}})
	if err == nil {
		err = edited[0].Err
	}
	if err != nil {
		return e, getError(err)
	}
	e = edited[0].Entry.Copy()
	if edited[0].Changed {
		c.changed(edited[0].Entry)
	}
	if e.State.Settled() {
		return e, nil
	}
	return e, c.sendCancel(ctx, e.VM, id, reason)
}

// maxCancelKeys is how many keys of a cancel are tried. Those that are another command's are of ledgers from before
// the keys were reserved, or of cancels that never reached the agent.
const maxCancelKeys = 8

// errNotTheCancel is the answer to MayKnow where a cancel's key is another command's.
var errNotTheCancel = errors.New("the key of the cancel is another command's")

// sendCancel has the agent of a VM asked to give up a command, once for all calls of Cancel. A command that has the
// cancel's key and does not do that does not count: the cancel is then sent under another key.
func (c *Controller) sendCancel(ctx context.Context, vm, id, reason string) error {
	guard := Guard{MayKnow: func(e *ledger.Entry) error {
		if !cancels(e, id) {
			return errNotTheCancel
		}
		return nil
	}}
	limits := guard.limits(ledger.Limits{}) // none: a full queue must not keep one from cancelling what fills it
	key := "cancel:" + uuid.NewSHA1(uuid.NameSpaceOID, []byte(id)).String()
	for n := 0; ; n++ {
		o := command.Options{IdempotencyKey: key, Urgent: true}
		switch {
		case n == maxCancelKeys: // without a key each call sends one more, so the queue's limits count
			o.IdempotencyKey, limits = "", c.opts.Limits
		case n > 0:
			o.IdempotencyKey = fmt.Sprintf("%s:%d", key, n)
		}
		cmd, err := command.New(command.Cancel{CommandID: id, Reason: reason}, o)
		if err != nil {
			return sendError(err)
		}
		_, err = c.send(ctx, vm, cmd, limits)
		switch {
		case errors.Is(err, errNotTheCancel):
			continue
		case errors.Is(err, transport.ErrKeyReused):
			return nil // asked before, with another reason
		}
		return err
	}
}

// cancels says whether e asks the agent to give up a command: urgently, or it might wait behind that, and not given up
// by the controller before the agent has heard of it.
func cancels(e *ledger.Entry, id string) bool {
	if e.Command.Type != command.TypeCancel || !e.Command.Urgent || e.State.Settled() && e.State.Verdict {
		return false
	}
	p, err := command.Decode[command.Cancel](*e.Command)
	if err != nil { // the ledger's Redact may have dropped the parameters of one that is settled
		return e.State.Settled()
	}
	return p.CommandID == id
}
