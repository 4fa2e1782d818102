package controller

import (
	"context"
	"slices"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Forget ends what waits for a VM that will not come back, and returns the IDs of what it has ended: what has not begun is
// dead then, what has begun interrupted, with the code vm_gone. The VM is in no list any more until it dials again, or is
// sent something, which is as good as the first time; its commands are remembered for as long as others.
//
// A VM with an open link is ErrInvalid, unless force is set: then its links end as revoked, which stops its agent. A VM
// that polls has no link between two polls. What is not known, neither by a link nor by a command, is ErrUnknownCommand.
// After an error of the ledger Forget may be called again.
func (c *Controller) Forget(ctx context.Context, vm string, force bool) (ended []string, err error) {
	if c.stopping.Load() {
		return nil, transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
	}
	known, err := c.evict(vm, force)
	if err != nil {
		return nil, err
	}
	ended, stored, err := c.endAll(ctx, vm, "the VM was forgotten")
	if err == nil && !known && !stored {
		err = transport.Errorf(transport.CodeUnknownCommand, "nothing was heard of this VM, and it has no commands")
	}
	return ended, err
}

// evict takes a VM's mailbox away, and returns whether there was one. A VM with a link is refused, or loses it by force.
func (c *Controller) evict(vm string, force bool) (known bool, err error) {
	c.mu.Lock()
	b := c.boxes[vm]
	if b == nil {
		c.mu.Unlock()
		return false, nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open > 0 && !force {
		c.mu.Unlock()
		return true, transport.Errorf(transport.CodeInvalid, "%s is attached: stop its agent first, or forget it by force", vm)
	}
	b.forgotten = true
	delete(c.boxes, vm)
	c.mu.Unlock()
	b.setOnline(false, time.Now())
	if b.link != nil { // which may not be among the links yet
		b.link.end(evicted(vm))
	}
	if b.open == 0 {
		return true, nil
	}
	for _, l := range c.links.all() {
		if l.box == b {
			l.end(evicted(vm))
		}
	}
	return true, nil
}

func (b *mailbox) isForgotten() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.forgotten
}

// evicted is what the links of a VM are told that is forgotten.
func evicted(vm string) error {
	return transport.Errorf(transport.CodeRevoked, "%s was forgotten by an operator", vm)
}

// endAll concludes what waits for a VM that is gone, and marks it as forgotten. It returns what it has ended, and whether
// the ledger knows the VM.
func (c *Controller) endAll(ctx context.Context, vm, reason string) (ended []string, stored bool, err error) {
	waiting, err := c.pending(ctx, vm, 0, 0)
	if err != nil {
		return nil, false, getError(err)
	}
	now := time.Now()
	for some := range slices.Chunk(waiting, sweepPage) {
		edits := make([]ledger.Edit, len(some))
		for i, e := range some {
			edits[i] = ledger.Edit{ID: e.Command.ID, Do: func(e *ledger.Entry) error {
				e.Gone(reason, now)
				return nil
			}}
		}
		edited, err := c.ledger.Update(ctx, vm, edits...)
		if err != nil {
			return ended, true, getError(err)
		}
		for i := range edited {
			if edited[i].Err == nil && edited[i].Changed {
				c.changed(edited[i].Entry)
				ended = append(ended, some[i].Command.ID)
			}
		}
	}
	newest, err := c.ledger.List(ctx, vm, 0, 1)
	if err != nil || len(newest) == 0 {
		return ended, false, getError(err)
	}
	if newest[0].State.Settled() { // else it came meanwhile, and is for whoever has the name next
		_, err = c.ledger.Update(ctx, vm, ledger.Edit{ID: newest[0].Command.ID, Do: func(e *ledger.Entry) error {
			e.Forget()
			return nil
		}})
	}
	return ended, true, getError(err)
}
