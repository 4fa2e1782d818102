package controller

import (
	"context"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Receipt stands for one command that is in the ledger.
type Receipt struct {
	c       *Controller
	id      string
	vm      string
	created bool
	ended   []string
}

// Receipt returns the receipt of a command that was sent before, also by an earlier process.
func (c *Controller) Receipt(id string) *Receipt { return &Receipt{c: c, id: id} }

// ID is the command's.
func (r *Receipt) ID() string { return r.id }

// VM is where the command was sent; empty for a receipt of Controller.Receipt.
func (r *Receipt) VM() string { return r.vm }

// Created is false where Send found the command in the ledger already, by its ID or its
// idempotency key.
func (r *Receipt) Created() bool { return r.created }

// Superseded are the IDs of the commands that Send has ended by the command's supersede key; the caller must not
// write to them.
func (r *Receipt) Superseded() []string { return r.ended }

// Wait returns the entry once the command is settled. If ctx ends first, it returns the entry as it
// is and ctx's error: nothing is given up by that, the command goes on.
func (r *Receipt) Wait(ctx context.Context) (ledger.Entry, error) {
	return r.wait(ctx, &r.c.waiters.settled, func(e *ledger.Entry) bool { return e.State.Settled() })
}

// WaitFor is Wait for any condition on the entry.
func (r *Receipt) WaitFor(ctx context.Context, ok func(ledger.Entry) bool) (ledger.Entry, error) {
	return r.wait(ctx, &r.c.waiters.changed, func(e *ledger.Entry) bool { return ok(e.Copy()) })
}

func (r *Receipt) wait(ctx context.Context, change *waitList, ok func(*ledger.Entry) bool) (ledger.Entry, error) {
	for {
		w := change.join(r.id)
		e, err := r.c.ledger.Get(ctx, r.id)
		if err != nil {
			change.leave(r.id, w)
			return ledger.Entry{}, getError(err)
		}
		if ok(e) {
			change.leave(r.id, w)
			return e.Copy(), nil
		}
		select {
		case to := <-w.made:
			change.leave(r.id, w)
			if to.State.Settled() && ok(to) { // nothing newer can be in the ledger
				return to.Copy(), nil
			}
		case <-ctx.Done():
			change.leave(r.id, w)
			return e.Copy(), context.Cause(ctx)
		case <-r.c.waiters.closed:
			change.leave(r.id, w)
			return e.Copy(), transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
		}
	}
}
