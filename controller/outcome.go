package controller

import (
	"context"
	"time"

	"github.com/miglink/miglink/ledger"
)

// heard is called with what an ack did to an entry.
func (c *Controller) heard(edited *ledger.Edited) {
	e := &edited.Entry
	if b := c.lookup(e.VM); b != nil && !b.observe(e, true) {
		return
	}
	if edited.Changed {
		c.tell(e)
	} else {
		c.waiters.wake(e) // the change may have been that of an Update that failed, and was stored
	}
}

// changed is called with an entry that the controller itself has changed.
func (c *Controller) changed(e *ledger.Entry) {
	if b := c.lookup(e.VM); b == nil || b.observe(e, false) {
		c.tell(e)
	}
}

func (c *Controller) tell(e *ledger.Entry) {
	if c.watch.wanted() {
		c.notice(e)
	}
	c.waiters.wake(e)
}

// notice publishes a copy of the entry without parameters, which may be secret.
func (c *Controller) notice(e *ledger.Entry) {
	told := *e
	told.Command.Parameters = nil
	c.watch.publish(Notice{Kind: NoticeCommand, At: time.Now(), VM: e.VM, Entry: &told})
}

// conclude applies one edit to each of the entries.
func (c *Controller) conclude(ctx context.Context, entries []ledger.Entry, do func(*ledger.Entry) error) error {
	byVM := map[string][]ledger.Edit{}
	for i := range entries {
		e := &entries[i]
		byVM[e.VM] = append(byVM[e.VM], ledger.Edit{ID: e.Command.ID, Do: do})
	}
	for vm, edits := range byVM {
		edited, err := c.ledger.Update(ctx, vm, edits...)
		if err != nil {
			return err
		}
		for i := range edited {
			if edited[i].Err == nil && edited[i].Changed {
				c.changed(&edited[i].Entry)
			}
		}
	}
	return nil
}
