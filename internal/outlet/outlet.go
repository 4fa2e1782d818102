// Package outlet sends what is due at a link to a peer, by whoever is at hand: who sends a command, or a goroutine
// that is there while there is something to do.
package outlet

import (
	"context"
	"runtime"
	"sync"

	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Owner is a server half's end of a link. Its lock guards the outlet.
type Owner interface {
	sync.Locker
	// Ended says whether nothing is to be sent any more. The lock is held.
	Ended() bool
	// Send sends a page, and says whether nobody looks at it any more. It is called by one goroutine at a time.
	Send(page []transport.Delivery) (written bool, err error)
	// Stop ends the link.
	Stop(err error)
}

// Outlet sends what is due at one link.
type Outlet struct {
	crew   *Crew
	owner  Owner
	link   transport.Link
	prompt bool
	sender Hand

	// guarded by the owner's lock
	sending bool // somebody is
	more    bool // something may be due since it was looked for
}

// Open has what link receives sent, from now on until ctx ends or the crew's work does. Prompt means that to send
// waits for nobody while few bytes are under way, so that who sends a command may be the one to write it, and Open sends
// what has waited for the link.
func (o *Outlet) Open(ctx context.Context, c *Crew, owner Owner, link transport.Link, prompt bool) {
	o.crew, o.owner, o.link, o.prompt = c, owner, link, prompt
	o.sender.Do = o.sendSoon
	p, ok := link.(transport.Pusher)
	if !ok {
		c.running.Go(func() {
			if err := safely.Do(func() error { o.receive(ctx); return nil }); err != nil {
				owner.Stop(err)
			}
		})
		return
	}
	o.sending = true // what is due by now is sent below
	p.Push(o.push)
	owner.Lock()
	defer owner.Unlock()
	o.sending = false
	switch {
	case owner.Ended():
	case prompt:
		o.sendDue()
	default:
		c.Work(&o.sender)
	}
}

// receive sends what a link receives that does not say when it is due.
func (o *Outlet) receive(ctx context.Context) {
	for {
		page, err := o.link.Receive(ctx)
		if err == nil {
			_, err = o.owner.Send(page)
		}
		if err != nil {
			if ctx.Err() != nil {
				err = context.Cause(ctx) // which may be for the peer
			}
			o.owner.Stop(err)
			return
		}
	}
}

// push has somebody look for what is due; now: the caller.
func (o *Outlet) push(now bool) {
	o.owner.Lock()
	defer o.owner.Unlock()
	o.more = true
	switch {
	case o.sending || o.owner.Ended(): // they look again
	case now && o.prompt:
		o.sendDue()
	default:
		o.crew.Work(&o.sender)
	}
}

// sendSoon is what the sender does.
func (o *Outlet) sendSoon() {
	runtime.Gosched() // others may be about to send a command to this VM: one message takes them all
	o.owner.Lock()
	defer o.owner.Unlock()
	o.sendDue()
}

// sendDue sends what is due until nothing is, unless somebody does already. The lock is held, but not while
// looking and sending.
func (o *Outlet) sendDue() {
	if o.sending {
		return
	}
	o.sending = true
	for o.more && !o.owner.Ended() {
		o.more = false
		o.owner.Unlock()
		// The lock is not held here: a panic that passed would unlock it again, which ends the process. Nor may it
		// pass to who has sent the command.
		if err := safely.Do(o.sendPage); err != nil {
			o.owner.Stop(err)
		}
		o.owner.Lock()
	}
	o.sending = false
}

// pages are lent to who sends one.
var pages = sync.Pool{New: func() any { return new([]transport.Delivery) }}

// sendPage sends a page of what is due, if there is something.
func (o *Outlet) sendPage() error {
	lent := pages.Get().(*[]transport.Delivery)
	page, err := o.link.(transport.Pusher).Take((*lent)[:0])
	written := true
	if err == nil && len(page) > 0 {
		written, err = o.owner.Send(page)
	}
	if written { // else somebody may look at it
		clear(page)
		*lent = page[:0]
		pages.Put(lent)
	}
	return err
}
