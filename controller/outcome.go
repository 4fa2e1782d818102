package controller

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// heard is called with what acks of a VM did to entries, and the attempt that each is about.
func (c *Controller) heard(b *mailbox, edited []ledger.Edited, attempt func(i int) int) {
	b.mu.Lock()
	stale := make([]bool, len(edited))
	for i := range edited {
		e := &edited[i]
		if e.Entry == nil || errors.Is(e.Err, transport.ErrSuperseded) || errors.Is(e.Err, transport.ErrUnknownCommand) {
			stale[i] = true
			continue
		}
		current := b.observe(e.Entry, true, attempt(i)) // also where the ack was refused: the agent has answered
		stale[i] = e.Err != nil || !current
		if !stale[i] && e.Changed {
			b.noteDisk(e.Entry)
		}
	}
	b.mu.Unlock()
	for i := range edited {
		if e := &edited[i]; e.Changed && !e.Entry.RunEnds.IsZero() {
			c.sweeper.wake()
		}
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
		current := b.observe(e, false, 0)
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
