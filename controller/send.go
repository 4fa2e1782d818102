package controller

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Send puts a command into the queue of a VM, connected or not. When it returns nil the command is
// in the ledger for good, and will be delivered until it is settled. Errors are of package
// transport: ErrInvalid, ErrTooLarge, ErrQueueFull, ErrKeyReused (its ID or idempotency key belongs
// to another command), ErrIDReused (its ID is that of a command with another CreatedAt), ErrUnavailable (stopping), ErrInternal (the ledger failed: it is not known
// whether the command is stored; send it again with the same ID). A key is free again, and the receipt is that of a new
// command, where the one that had it was not run and never will be, see ledger.Entry.KeyFree. Another command is one of another type or with
// other parameters, see ledger.Entry.Same; the error names it, and its stage. Secrets do not count, nor do times at which they
// expire: a retry with a fresh token is the same command, which keeps the token that it came with.
//
// Idempotency keys that begin with "cancel:" or "miglink:" are the controller's own, and invalid here.
func (c *Controller) Send(ctx context.Context, vm string, cmd command.Command) (*Receipt, error) {
	return c.SendGuarded(ctx, vm, cmd, Guard{})
}

// Guard says no to what a Send would do besides putting its command into the queue. Its functions are asked in the
// step that stores the command, so nothing comes in between; they must be quick, must not call the controller, and
// must not write to the entry. What they return is what SendGuarded returns, and then nothing was stored. Nil allows all.
type Guard struct {
	// MayEnd is asked of each command that the new one, by its supersede key, would end as superseded.
	MayEnd func(*ledger.Entry) error
	// MayKnow is asked of the command that the new one's ID or idempotency key belongs to already, before it is said
	// whether it is the same.
	MayKnow func(*ledger.Entry) error
}

// SendGuarded is Send on behalf of somebody who may not do everything.
func (c *Controller) SendGuarded(ctx context.Context, vm string, cmd command.Command, g Guard) (*Receipt, error) {
	for _, prefix := range reservedKeys {
		if strings.HasPrefix(cmd.IdempotencyKey, prefix) {
			return nil, transport.Errorf(transport.CodeInvalid,
				"idempotency_key begins with %q, which is for the controller's own commands: choose another beginning", prefix)
		}
	}
	return c.send(ctx, vm, cmd, g.limits(c.opts.Limits))
}

// reservedKeys begin the idempotency keys of commands that the controller itself sends: a key of anybody else's that
// was there first would keep such a command from being sent.
var reservedKeys = []string{"cancel:", "miglink:"}

// limits adds what g allows to limits.
func (g Guard) limits(l ledger.Limits) ledger.Limits {
	l.MayEnd, l.MayKnow = guarded(g.MayEnd), guarded(g.MayKnow)
	return l
}

// guarded marks the errors of a guard, so that they come back as they are and are not taken for a ledger's.
func guarded(may func(*ledger.Entry) error) func(*ledger.Entry) error {
	if may == nil {
		return nil
	}
	return func(e *ledger.Entry) error {
		if err := may(e); err != nil {
			return &guardError{err}
		}
		return nil
	}
}

type guardError struct{ error }

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
	// In UTC: another zone may have an offset that RFC 3339 has no form for.
	cmd.CreatedAt, cmd.ExpiresAt = cmd.CreatedAt.UTC(), cmd.ExpiresAt.UTC()
	now := time.Now()
	if cmd.TTL == 0 && cmd.Expired(now) {
		return nil, transport.Errorf(transport.CodeInvalid, "expires_at is in the past")
	}
	limits.Away = cmd.IdempotencyKey != "" && c.away(vm)
	appended, err := c.ledger.Append(ctx, vm, cmd, limits, now)
	if err != nil {
		c.panicked(vm, err)
		return nil, sendError(err)
	}
	var ended []string
	for _, e := range appended.Superseded {
		ended = append(ended, e.Command.ID)
		c.changed(e)
	}
	e := appended.Entry
	if appended.Created {
		if !e.Command.ExpiresAt.IsZero() {
			c.sweeper.wake()
		}
		c.tell(e)
	}
	// Also one that was there: it may be that of a Send that failed, and was stored.
	if b := c.lookup(vm); b != nil {
		b.wake(len(e.Command.Parameters))
	}
	return &Receipt{c: c, id: e.Command.ID, vm: vm, created: appended.Created, ended: ended}, nil
}

// away says whether a VM has no link, and none that it may be between: one that polls has its lease meanwhile.
func (c *Controller) away(vm string) bool {
	b := c.lookup(vm)
	if b == nil {
		return true
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open == 0 && !b.online
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
			own.ID, own.CreatedAt = command.NewID()
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

// sendError gives the errors of packages command and ledger their codes.
func sendError(err error) error {
	var refused *guardError
	switch {
	case errors.As(err, &refused):
		return refused.error
	case errors.Is(err, command.ErrTooLarge):
		return &transport.Error{Code: transport.CodeTooLarge, Message: err.Error()}
	case errors.Is(err, command.ErrInvalid):
		return &transport.Error{Code: transport.CodeInvalid, Message: err.Error()}
	case errors.Is(err, ledger.ErrFull):
		return &transport.Error{Code: transport.CodeQueueFull, Message: err.Error()}
	case errors.Is(err, ledger.ErrReused):
		return &transport.Error{Code: transport.CodeIDReused, Message: err.Error()}
	case errors.Is(err, ledger.ErrConflict):
		said := &transport.Error{Code: transport.CodeKeyReused, Message: err.Error()}
		if c := (*ledger.Conflict)(nil); errors.As(err, &c) {
			said.CommandID, said.Stage = c.Of.Command.ID, c.Of.State.Stage
		}
		return said
	case errors.Is(err, ledger.ErrUnreadable):
		return &transport.Error{Code: transport.CodeInvalid, Message: err.Error()}
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
