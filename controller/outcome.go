package controller

import (
	"context"
	"time"

	"github.com/miglink/miglink/ledger"
)

// heard is called with what acks of a VM did to entries.
func (c *Controller) heard(b *mailbox, edited []ledger.Edited) {
	b.mu.Lock()
	stale := make([]bool, len(edited))
	for i := range edited {
		stale[i] = edited[i].Err != nil || !b.observe(edited[i].Entry, true)
	}
	b.mu.Unlock()
	for i := range edited {
		switch {
		case stale[i]:
		case edited[i].Changed:
			c.tell(edited[i].Entry)
		default:
			c.waiters.wake(edited[i].Entry) // the change may have been that of an Update that failed, and was stored
		}
	}
}

// changed is called with an entry that the controller itself has changed.
func (c *Controller) changed(e *ledger.Entry) {
	if b := c.lookup(e.VM); b != nil {
		b.mu.Lock()
		current := b.observe(e, false)
		b.mu.Unlock()
		if !current {
			return
		}
	}
	c.tell(e)
}

func (c *Controller) tell(e *ledger.Entry) {
	if c.watch.wanted() {
		c.notice(e)
	}
	c.waiters.wake(e)
}

// notice publishes a copy of the entry without parameters, which may be secret.
func (c *Controller) notice(e *ledger.Entry) {
	told, cmd := e.Copy(), *e.Command
	cmd.Parameters = nil
	told.Command = &cmd
	c.watch.publish(Notice{Kind: NoticeCommand, At: time.Now(), VM: e.VM, Entry: &told})
}

// conclude applies one edit to each of the entries.
func (c *Controller) conclude(ctx context.Context, entries []*ledger.Entry, do func(*ledger.Entry) error) error {
	byVM := map[string][]ledger.Edit{}
	for _, e := range entries {
		byVM[e.VM] = append(byVM[e.VM], ledger.Edit{ID: e.Command.ID, Do: do})
	}
	for vm, edits := range byVM {
		edited, err := c.ledger.Update(ctx, vm, edits...)
		if err != nil {
			return err
		}
		for i := range edited {
			if edited[i].Err == nil && edited[i].Changed {
				c.changed(edited[i].Entry)
			}
		}
	}
	return nil
}
