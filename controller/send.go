package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Send puts a command into the queue of a VM, connected or not. When it returns nil the command is
// in the ledger for good, and will be delivered until it is settled. Errors are of package
// transport: ErrInvalid, ErrTooLarge, ErrQueueFull, ErrKeyReused (its ID or idempotency key belongs
// to another command), ErrUnavailable (stopping), ErrInternal (the ledger failed: it is not known
// whether the command is stored; send it again with the same ID). Another command is one of another type or with
// other parameters; of one that is settled no secrets are left to compare, so it is the same whatever they are.
func (c *Controller) Send(ctx context.Context, vm string, cmd command.Command) (*Receipt, error) {
	return c.send(ctx, vm, cmd, c.opts.Limits)
}

func (c *Controller) send(ctx context.Context, vm string, cmd command.Command, limits ledger.Limits) (*Receipt, error) {
	if c.stopping.Load() {
		return nil, transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
	}
	if err := transport.ValidateVM(vm); err != nil {
		return nil, err
	}
	if err := cmd.Validate(); err != nil {
		return nil, sendError(err)
	}
	now := time.Now()
	if cmd.Expired(now) {
		return nil, transport.Errorf(transport.CodeInvalid, "expires_at is in the past")
	}
	appended, err := c.ledger.Append(ctx, vm, cmd, limits, now)
	if err != nil {
		return nil, sendError(err)
	}
	for _, e := range appended.Superseded {
		c.changed(e)
	}
	e := appended.Entry
	if appended.Created {
		if !cmd.ExpiresAt.IsZero() {
			c.sweeper.wake()
		}
		c.tell(e)
	}
	// Also one that was there: it may be that of a Send that failed, and was stored.
	if b := c.lookup(vm); b != nil {
		b.wake(len(e.Command.Parameters))
	}
	return &Receipt{c: c, id: e.Command.ID, vm: vm, created: appended.Created}, nil
}

// broadcastWriters is how many commands of a broadcast are on their way to the ledger at a time,
// which lets a ledger write many of them at once.
const broadcastWriters = 256

// Broadcast sends a command to many VMs, each under an ID of its own. Receipts are in the order of
// vms; where a VM's command could not be sent its receipt is nil, and the error, which joins all,
// names the VM.
func (c *Controller) Broadcast(ctx context.Context, vms []string, cmd command.Command) ([]*Receipt, error) {
	receipts := make([]*Receipt, len(vms))
	errs := make([]error, len(vms))
	var g errgroup.Group
	g.SetLimit(broadcastWriters)
	for i, vm := range vms {
		g.Go(func() error {
			own := cmd
			own.ID = uuid.Must(uuid.NewV7()).String()
			var err error
			if receipts[i], err = c.Send(ctx, vm, own); err != nil {
				errs[i] = fmt.Errorf("%s: %w", vm, err)
			}
			return nil
		})
	}
	_ = g.Wait()
	return receipts, errors.Join(errs...)
}

// Get returns what is known of a command, its history included, or ErrUnknownCommand.
func (c *Controller) Get(ctx context.Context, id string) (ledger.Entry, error) {
	e, err := c.ledger.Get(ctx, id)
	if err != nil {
		return ledger.Entry{}, getError(err)
	}
	return e.Copy(), nil
}

// List returns up to limit commands of a VM, newest first. To page on, pass the Seq of the last
// entry as before; 0 starts at the newest.
func (c *Controller) List(ctx context.Context, vm string, before uint64, limit int) ([]ledger.Entry, error) {
	list, err := c.ledger.List(ctx, vm, before, limit)
	entries := make([]ledger.Entry, len(list))
	for i, e := range list {
		entries[i] = e.Copy()
	}
	return entries, getError(err)
}

// Cancel asks for a command to be cancelled and returns it as it is then. The request is durable. A
// command that was never delivered is settled at once. One that was is refused to start from now on,
// and its agent is asked to give it up: it answers canceled, or, where the command finished first,
// what became of it. Receipt(id).Wait waits for that.
func (c *Controller) Cancel(ctx context.Context, id, reason string) (ledger.Entry, error) {
	if len(reason) > ack.MaxText {
		return ledger.Entry{}, transport.Errorf(transport.CodeTooLarge, "reason has %d bytes, at most %d are allowed", len(reason), ack.MaxText)
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
	cancel, err := command.New(command.Cancel{CommandID: id, Reason: reason}, command.Options{
		IdempotencyKey: "cancel:" + uuid.NewSHA1(uuid.NameSpaceOID, []byte(id)).String(),
		Urgent:         true,
	})
	if err != nil {
		return e, sendError(err)
	}
	// A full queue must not keep one from cancelling what fills it.
	_, err = c.send(ctx, e.VM, cancel, ledger.Limits{})
	if errors.Is(err, transport.ErrKeyReused) {
		err = nil // asked before, with another reason
	}
	return e, err
}

// sendError gives the errors of packages command and ledger their codes.
func sendError(err error) error {
	switch {
	case errors.Is(err, command.ErrTooLarge):
		return &transport.Error{Code: transport.CodeTooLarge, Message: err.Error()}
	case errors.Is(err, command.ErrInvalid):
		return &transport.Error{Code: transport.CodeInvalid, Message: err.Error()}
	case errors.Is(err, ledger.ErrFull):
		return &transport.Error{Code: transport.CodeQueueFull, Message: err.Error()}
	case errors.Is(err, ledger.ErrConflict):
		return &transport.Error{Code: transport.CodeKeyReused, Message: err.Error()}
	}
	return getError(err)
}

// getError leaves the caller's own context error as it is: nobody failed.
func getError(err error) error {
	switch {
	case err == nil, errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return err
	case errors.Is(err, ledger.ErrNotFound):
		return transport.Errorf(transport.CodeUnknownCommand, "there is no such command")
	case errors.Is(err, ledger.ErrClosed):
		return transport.Errorf(transport.CodeUnavailable, "the controller has stopped")
	}
	return fmt.Errorf("%w: %w", transport.ErrInternal, err)
}
