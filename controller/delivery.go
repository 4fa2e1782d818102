package controller

import (
	"context"
	"fmt"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// A page is what Receive returns at a time: it fits a frame on every transport.
const (
	pageCommands = 128
	pageBytes    = 512 << 10
)

// page collects deliveries, and what turned out on the way not to be delivered.
type page struct {
	l          *link
	now        time.Time
	deliveries []transport.Delivery
	before     int // of the deliveries are of others
	bytes      int
	overdue    []*ledger.Entry // to be concluded, not delivered
	look       time.Time       // when there may be more, if nothing happens before
}

// atOnce is when to look again where a page did not hold all that is due.
var atOnce = time.Unix(0, 0)

// next adds what is due now to a page, and returns when to look again; zero: when woken.
func (l *link) next(ctx context.Context, deliveries []transport.Delivery) ([]transport.Delivery, time.Time, error) {
	before := len(deliveries)
	for {
		p := page{l: l, now: time.Now(), deliveries: deliveries, before: before}
		if err := p.collect(ctx); err != nil {
			return deliveries, time.Time{}, err
		}
		if len(p.overdue) == 0 {
			l.c.delivered(l.hello.VM, &p)
			if p.full() {
				p.look = atOnce
			}
			return p.deliveries, p.look, nil
		}
		if err := l.c.conclude(ctx, p.overdue, func(e *ledger.Entry) error {
			l.c.giveUp(e, p.now)
			return nil
		}); err != nil {
			return deliveries, time.Time{}, getError(err)
		}
		// What the page holds already is handed out; Receive comes back for the rest.
		if len(p.deliveries) > before {
			l.c.delivered(l.hello.VM, &p)
			return p.deliveries, atOnce, nil
		}
	}
}

// collect fills the page: urgent before normal, and in each lane what is to be delivered again
// before what is new.
func (p *page) collect(ctx context.Context) error {
	b := p.l.box
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link != p.l {
		p.look = time.Time{}
		return nil // ended, or for acks and events only; sleep waits for the end
	}
	for _, which := range []ledger.Lane{ledger.Urgent, ledger.Normal} {
		if err := p.again(ctx, which); err != nil {
			return err
		}
		if err := p.fresh(ctx, which); err != nil {
			return err
		}
	}
	return nil
}

// again takes the flights whose deadline has passed.
func (p *page) again(ctx context.Context, which ledger.Lane) error {
	b := p.l.box
	flights := b.lane(which).flights
	for i := range flights {
		f := &flights[i]
		if p.now.Before(f.due) || p.full() {
			p.look = sooner(p.look, f.due)
			continue
		}
		found, err := b.c.ledger.Pending(ctx, b.vm, which, f.seq-1, 1)
		if err != nil {
			return getError(err)
		}
		if len(found) == 0 || found[0].Seq != f.seq {
			continue // settled a moment ago; observe drops the flight
		}
		f.due, f.deferred = p.now.Add(b.c.opts.AckDeadline), false
		p.look = sooner(p.look, f.due)
		p.take(found[0])
	}
	return nil
}

// fresh takes what the window has room for beyond what was handed out.
func (p *page) fresh(ctx context.Context, which ledger.Lane) error {
	b := p.l.box
	l := b.lane(which)
	for !p.full() {
		room := p.l.window - len(l.flights)
		if room <= 0 || l.blocked() {
			return nil
		}
		limit := min(room, pageCommands)
		entries, err := b.c.ledger.Pending(ctx, b.vm, which, l.high, limit)
		if err != nil {
			return getError(err)
		}
		if p.deliveries == nil {
			p.deliveries = make([]transport.Delivery, 0, len(entries))
		}
		for _, e := range entries {
			if e.State.Stage == ack.Deferred && p.now.Before(e.NotBefore) {
				p.look = sooner(p.look, e.NotBefore) // it keeps its place: nothing overtakes it
				return nil
			}
			if p.full() {
				return nil
			}
			l.high = e.Seq
			f := flight{seq: e.Seq, id: e.Command.ID, due: p.now.Add(b.c.opts.AckDeadline), version: e.Version}
			l.flights = append(l.flights, f)
			p.look = sooner(p.look, f.due)
			p.take(e)
		}
		if len(entries) < limit {
			return nil
		}
	}
	return nil
}

func (p *page) full() bool {
	return len(p.deliveries)-p.before >= pageCommands || p.bytes >= pageBytes
}

// take puts one command on the page, unless it is one to be given up.
func (p *page) take(e *ledger.Entry) {
	c := p.l.c
	if c.overdue(e, p.now) {
		p.overdue = append(p.overdue, e)
		return
	}
	b := p.l.box
	at := position{normal: b.lanes[0].high, urgent: b.lanes[1].high}
	p.bytes += len(e.Command.Parameters)
	p.deliveries = append(p.deliveries, transport.Delivery{
		Cursor:    at.cursor(c.ledger.Epoch()),
		Attempt:   e.State.Attempt + 1,
		Started:   e.State.Stage.Running(),
		AckWithin: command.Duration(c.opts.AckDeadline),
		Command:   *e.Command,
	})
}

// overdue says whether a command that is due for delivery is to be concluded instead.
func (c *Controller) overdue(e *ledger.Entry, now time.Time) bool {
	return e.Expirable(now) || c.exhausted(e) || e.Cancel != nil && e.State.Stage == ack.Delivered
}

// exhausted says whether a command was delivered as often as is allowed.
func (c *Controller) exhausted(e *ledger.Entry) bool {
	return e.State.Stage != ack.Deferred && e.State.Attempt-max(e.State.Round-1, 0) >= c.opts.MaxAttempts
}

// giveUp concludes a command that overdue has picked, if it still is.
func (c *Controller) giveUp(e *ledger.Entry, now time.Time) {
	switch {
	case e.Expirable(now):
		e.Conclude(ack.Expired, "not started in time", now)
	case e.Cancel != nil && e.State.Stage == ack.Delivered:
		e.Conclude(ack.Canceled, e.Cancel.Reason, now)
	case c.exhausted(e):
		e.Conclude(ack.Dead, fmt.Sprintf("delivered %d times without an answer", c.opts.MaxAttempts), now)
	}
}

// delivered notes what a page hands out. It need not be durable: a crash costs no more than an
// attempt number that is used twice.
func (c *Controller) delivered(vm string, p *page) {
	deliveries := p.deliveries[p.before:]
	if len(deliveries) == 0 {
		return
	}
	edits := make([]ledger.Edit, len(deliveries))
	for i := range deliveries {
		d := &deliveries[i]
		attempt, now := d.Attempt, p.now // the page is the caller's
		edits[i] = ledger.Edit{ID: d.ID, Do: func(e *ledger.Entry) error {
			e.Delivered(attempt, now)
			return nil
		}}
	}
	for _, noted := range c.ledger.Note(vm, edits...) {
		if noted.Changed {
			c.tell(noted.Entry)
		}
	}
}
