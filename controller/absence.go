package controller

import (
	"context"
	"time"

	"github.com/miglink/miglink/ledger"
)

// Absence is divided by these.
const (
	// noteEvery is how much later a VM must have been heard of than the ledger knows, for it to be noted there.
	noteEvery = 24
	// graceAfterStart is how long no VM is absent after the controller has started: those that are there have to come back
	// first.
	graceAfterStart = 7
)

// absences ends what waits for VMs that were not heard of for as long as Options.Absence.
//
// When a VM was last heard of is kept with its unsettled commands, as precisely as noteEvery says, so that controllers that
// are restarted often find out as well.
func (c *Controller) absences(ctx context.Context, now time.Time) error {
	for after := ""; ; {
		vms, err := c.ledger.VMs(ctx, ledger.VMQuery{After: after, Limit: sweepPage, Unsettled: true})
		if err != nil {
			return err
		}
		for _, vm := range vms {
			after = vm.Name
			if err := c.absence(ctx, vm.Name, now); err != nil {
				return err
			}
		}
		if len(vms) < sweepPage {
			return nil
		}
	}
}

func (c *Controller) absence(ctx context.Context, vm string, now time.Time) error {
	waiting, err := c.pending(ctx, vm, 0, 0)
	if err != nil || len(waiting) == 0 {
		return err
	}
	seen, known := c.lastSeen(vm, now), heard(waiting)
	switch {
	case seen.Sub(known) > c.opts.Absence/noteEvery:
		c.noteSeen(waiting[0], seen)
		return nil
	case now.Sub(known) < c.opts.Absence, now.Sub(seen) < c.opts.Absence, now.Sub(c.began) < c.opts.Absence/graceAfterStart:
		return nil
	}
	if _, err := c.evict(vm, false); err != nil {
		return nil // it is back
	}
	ended, _, err := c.endAll(ctx, vm, "nothing was heard of the VM for "+c.opts.Absence.String())
	c.log.Warn("what waited for a VM that is absent was ended", "vm_id", vm, "commands", len(ended))
	return err
}

// heard is the latest time at which a VM was there, as far as its entries tell.
func heard(entries []*ledger.Entry) (latest time.Time) {
	for _, e := range entries {
		if at := e.Heard(); at.After(latest) {
			latest = at
		}
	}
	return latest
}

// lastSeen is when this controller heard of a VM last; zero: never.
func (c *Controller) lastSeen(vm string, now time.Time) time.Time {
	b := c.lookup(vm)
	if b == nil {
		return time.Time{}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open > 0 {
		return now
	}
	return b.lastSeen
}

// noteSeen notes when a VM was last heard of, with one of its unsettled commands. It need not be durable at once.
func (c *Controller) noteSeen(e *ledger.Entry, at time.Time) {
	c.ledger.Note(e.VM, ledger.Edit{ID: e.Command.ID, Do: func(e *ledger.Entry) error {
		e.Seen(at)
		return nil
	}})
}

// keepSeen keeps in the ledger when a VM was last heard of, if that is so long ago that its mailbox may go, which it returns.
func (c *Controller) keepSeen(ctx context.Context, b *mailbox, before time.Time) bool {
	b.mu.Lock()
	old, seen := b.open == 0 && !b.online && b.lastSeen.Before(before), b.lastSeen
	b.mu.Unlock()
	if !old {
		return false
	}
	waiting, err := c.pending(ctx, b.vm, 0, 1)
	if err == nil && len(waiting) > 0 {
		c.noteSeen(waiting[0], seen)
	}
	return err == nil
}
