package controller

import (
	"context"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Access bounds what VMs may ask of the controller, on every transport. The zero value of each field means its
// default, a negative number no bound. Who is over a bound is told rate_limited, and when to try again.
//
// What leads to the end of a command is not held against a VM: one that works through its commands may poll as
// fast as it can.
type Access struct {
	Links       int  // open at a time, with each POST that goes on. Default: 100,000.
	LinksPerVM  int  // likewise. Default: 32.
	VMs         int  // that are remembered. Default: 1,000,000.
	Dials       Rate // of all VMs. Default: 5,000 a second, 50,000 at once.
	DialsPerVM  Rate // a poll is one, and so is a POST. Default: 20 a second, 200 at once.
	AcksPerVM   Rate // that end no command, and what was refused. Default: 500 a second, 5,000 at once.
	EventsPerVM Rate // and heartbeats. Default: 100 a second, 1,000 at once.
}

// Unlimited is an Access without bounds, for tests and measurements.
func Unlimited() Access {
	none := Rate{PerSecond: -1}
	return Access{Links: -1, LinksPerVM: -1, VMs: -1, Dials: none, DialsPerVM: none, AcksPerVM: none, EventsPerVM: none}
}

func (a Access) withDefaults() Access {
	number := func(n *int, def int) {
		if *n == 0 {
			*n = def
		}
	}
	rate := func(r *Rate, perSecond float64, atOnce int) {
		if *r == (Rate{}) {
			*r = Rate{perSecond, atOnce}
		}
	}
	number(&a.Links, 100_000)
	number(&a.LinksPerVM, 32)
	number(&a.VMs, 1_000_000)
	rate(&a.Dials, 5_000, 50_000)
	rate(&a.DialsPerVM, 20, 200)
	rate(&a.AcksPerVM, 500, 5_000)
	rate(&a.EventsPerVM, 100, 1_000)
	return a
}

// Rate is so many a second in the long run, and so many at once.
type Rate struct {
	PerSecond float64 // negative: no bound; less than one a day is one a day
	AtOnce    int
}

// meter measures against a Rate. It is when all that was taken will have been earned, since some beginning, as in
// the generic cell rate algorithm (ITU-T I.371). The zero value has taken nothing.
type meter time.Duration

// owes is how long it takes until more may be taken; at most 0: no time.
func (m *meter) owes(r Rate, now time.Duration) time.Duration {
	if r.PerSecond < 0 {
		return 0
	}
	return time.Duration(*m) - now - r.worth(r.AtOnce)
}

// take takes n, more than there is if need be; a negative n gives back.
func (m *meter) take(r Rate, n int, now time.Duration) {
	if r.PerSecond >= 0 {
		*m = max(*m, meter(now)) + meter(r.worth(n))
	}
}

// worth is the time in which n are earned.
func (r Rate) worth(n int) time.Duration {
	if r.PerSecond < 0 {
		return 0
	}
	const most = 1e9 // seconds
	return time.Duration(min(float64(n)*min(1/r.PerSecond, 24*60*60), most) * float64(time.Second))
}

// meters are those of one VM.
type meters struct{ dials, acks, events meter }

// perCommand is what a command that has ended makes good: its acks and the requests that brought them, the poll
// that brought it, and what of these had to be repeated.
const perCommand = 8

// tooMuch is what is told of a bound. Those who are told at the same time come back at different ones.
func tooMuch(wait time.Duration, format string, args ...any) *transport.Error {
	e := transport.Errorf(transport.CodeRateLimited, format, args...)
	wait = max(wait, time.Second)
	e.RetryAfter = (wait + jitter(wait)).Round(time.Millisecond)
	return e
}

// admit lets a VM open a link, or says why not now. What it lets in is to leave.
func (c *Controller) admit(vm string) (*mailbox, error) {
	o, now := &c.opts.Access, time.Since(c.began)
	for {
		b := c.mailbox(vm)
		if b == nil {
			return nil, tooMuch(0, "more than %d VMs are known", o.VMs)
		}
		b.mu.Lock()
		if b.forgotten {
			b.mu.Unlock()
			continue // there is another by now, or will be
		}
		err := b.admit(o, now)
		b.mu.Unlock()
		if err == nil {
			if err = c.admitOne(o, now); err != nil {
				b.leave()
			}
		}
		return b, err
	}
}

func (b *mailbox) admit(o *Access, now time.Duration) error {
	switch wait := max(b.meters.dials.owes(o.DialsPerVM, now)+o.DialsPerVM.worth(1), b.meters.acks.owes(o.AcksPerVM, now)); {
	case o.LinksPerVM > 0 && int(b.open) >= o.LinksPerVM:
		return tooMuch(0, "%d links of this VM are open", b.open)
	case wait > 0:
		return tooMuch(wait, "this VM dials more often than %g times a second, or has sent too much", o.DialsPerVM.PerSecond)
	}
	b.meters.dials.take(o.DialsPerVM, 1, now)
	b.open++
	return nil
}

func (b *mailbox) leave() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
}

// admitOne is for the bounds on all VMs together.
func (c *Controller) admitOne(o *Access, now time.Duration) error {
	if o.Links > 0 && c.links.len() >= o.Links {
		return tooMuch(0, "%d links are open", o.Links)
	}
	c.dialing.Lock()
	defer c.dialing.Unlock()
	if wait := c.dials.owes(o.Dials, now) + o.Dials.worth(1); wait > 0 {
		return tooMuch(wait, "VMs dial more often than %g times a second", o.Dials.PerSecond)
	}
	c.dials.take(o.Dials, 1, now)
	return nil
}

// chargeAcks takes into account what acks of the VM did: to end a command makes good for what led to it. An error
// ends the link.
func (l *link) chargeAcks(acks int, edited []ledger.Edited) error {
	for i := range edited {
		if e := &edited[i]; e.Err == nil && e.Changed && e.Entry.State.Stage.Final() {
			acks -= perCommand
		}
	}
	o, now := &l.c.opts.Access, time.Since(l.c.began)
	b := l.box
	b.mu.Lock()
	defer b.mu.Unlock()
	b.meters.acks.take(o.AcksPerVM, acks, now)
	if acks < 0 && l.hello.Uplink { // else no dial has led to it
		b.meters.dials.take(o.DialsPerVM, acks, now)
		l.c.dialing.Lock()
		l.c.dials.take(o.Dials, acks, now)
		l.c.dialing.Unlock()
	}
	if wait := b.meters.acks.owes(o.AcksPerVM, now); wait > 0 {
		return tooMuch(wait, "this VM sends more than %g acks a second that end no command", o.AcksPerVM.PerSecond)
	}
	return nil
}

// chargeEvents says whether the VM may report so many events now. To be told that it may not counts as an ack.
func (l *link) chargeEvents(n int) error {
	o, now := &l.c.opts.Access, time.Since(l.c.began)
	l.box.mu.Lock()
	wait := l.box.meters.events.owes(o.EventsPerVM, now)
	if wait <= 0 {
		l.box.meters.events.take(o.EventsPerVM, max(n, 1), now)
	}
	l.box.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	if err := l.chargeAcks(1, nil); err != nil {
		l.end(err)
		return err
	}
	return tooMuch(wait, "this VM reports more than %g events a second", o.EventsPerVM.PerSecond)
}

// forget drops what is known of VMs that have been away for too long, so that what is remembered of a fleet whose
// VMs come and go is bounded. Their commands are the ledger's.
func (c *Controller) forget(ctx context.Context, before time.Time) {
	for _, b := range c.mailboxes() {
		if !c.keepSeen(ctx, b, before) {
			continue
		}
		c.mu.Lock()
		b.mu.Lock()
		if b.open == 0 && !b.online && b.lastSeen.Before(before) {
			b.forgotten = true
			delete(c.boxes, b.vm)
		}
		b.mu.Unlock()
		c.mu.Unlock()
	}
}
