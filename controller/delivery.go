package controller

import (
	"context"
	"slices"
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
	unsent     []*ledger.Entry // of the deliveries, those of which the ledger is sure that no link has had them
	look       time.Time       // when there may be more, if nothing happens before
	ask        func()          // to be called before the page is sent; nil: nothing is to be asked
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
		if p.ask != nil {
			p.ask()
		}
		if len(p.overdue) == 0 {
			if err := l.handOut(&p); err != nil {
				return deliveries, time.Time{}, err
			}
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
			if err := l.handOut(&p); err != nil {
				return deliveries, time.Time{}, err
			}
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
		again := p.mayAsk(f, &found[0])
		f.due, f.deferred = p.now.Add(b.c.opts.AckDeadline), false
		p.look = sooner(p.look, f.due)
		if again {
			p.take(found[0], f)
		}
	}
	return nil
}

// mayAsk says whether a command whose deadline has passed is to be delivered again over the link, and counts the deliveries
// that have arrived and were not answered. Once it was handed out as often as it may be without an answer, it comes again
// seldom as long as nothing shows that it arrives.
func (p *page) mayAsk(f *flight, e **ledger.Entry) bool {
	b := p.l.box
	switch {
	case f.deferred:
		f.times = 0
	case p.l.seen.counts(f):
		n := int(f.times)
		noted := b.c.ledger.Note(b.vm, ledger.Edit{ID: f.id, Do: func(e *ledger.Entry) error {
			e.Unanswered(n)
			return nil
		}})
		if noted[0].Entry != nil {
			*e = noted[0].Entry
		}
		f.times = 0
	default:
		p.wants()
		if int(f.times) < b.c.opts.MaxAttempts || b.c.overdue(*e, p.now) {
			break
		}
		if f.waited++; int(f.waited) < b.c.opts.MaxAttempts || time.Duration(f.waited)*b.c.opts.AckDeadline < holdTime {
			return false
		}
	}
	f.waited = 0
	return true
}

// holds says whether a command is not to be handed out before there is more evidence, or for a while where there is none:
// what did not arrive twice goes alone, over a link that passes something, and what comes after it waits until it has
// arrived.
func (p *page) holds(l *lane, e *ledger.Entry) bool {
	seen := &p.l.seen
	if l.care == nil && !suspect(e) {
		return false
	}
	care := l.takeCare()
	if care.alone <= seen.arrived && (!suspect(e) || seen.toBlame()) {
		care.held = time.Time{}
		return false
	}
	if care.held.IsZero() {
		care.held = p.now
	}
	until := care.held.Add(holdTime)
	if p.now.Before(until) {
		p.wants()
		p.look = sooner(p.look, until)
		return true
	}
	care.held, care.alone = time.Time{}, 0
	return false
}

// suspect says whether a command may be one that a path does not let pass.
func suspect(e *ledger.Entry) bool { return e.Misses() > 1 }

// fresh takes what the window has room for beyond what was handed out.
func (p *page) fresh(ctx context.Context, which ledger.Lane) error {
	b := p.l.box
	l := b.lane(which)
	for !p.full() {
		room := l.room(p.l.window, which)
		if room <= 0 {
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
			deferred := e.State.Stage == ack.Deferred && p.now.Before(e.NotBefore)
			if deferred && which == ledger.Normal {
				p.look = sooner(p.look, e.NotBefore) // it keeps its place: nothing overtakes it
				return nil
			}
			if p.full() || p.holds(l, e) {
				return nil
			}
			l.high = e.Seq
			f := flight{seq: e.Seq, id: e.Command.ID, due: p.now.Add(b.c.opts.AckDeadline), version: e.Version, deferred: deferred}
			if deferred {
				f.due = e.NotBefore
			} else {
				l.again(&f, p.now)
			}
			l.flights = append(l.flights, f)
			p.look = sooner(p.look, f.due)
			if deferred {
				continue
			}
			if f := &l.flights[len(l.flights)-1]; p.take(e, f) && suspect(e) {
				l.takeCare().alone, p.look = f.nth, atOnce
				return nil
			}
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

// take puts one command on the page, unless it is one to be given up: then it returns false.
func (p *page) take(e *ledger.Entry, f *flight) bool {
	c := p.l.c
	if c.overdue(e, p.now) {
		p.overdue = append(p.overdue, e)
		return false
	}
	if e.Unsent {
		p.unsent = append(p.unsent, e)
	}
	b := p.l.box
	at := position{normal: b.lanes[0].high, urgent: b.lanes[1].high}
	p.bytes += len(e.Command.Parameters)
	p.deliveries = append(p.deliveries, transport.Delivery{
		Cursor:    at.cursor(c.ledger.Epoch()),
		Attempt:   e.State.Attempt + 1,
		Started:   e.State.Stage.Running(),
		AckWithin: command.Duration(c.opts.AckDeadline),
		ExpiresIn: expiresIn(e, p.now),
		Command:   *e.Command,
	})
	p.l.seen.hand(f)
	return true
}

// expiresIn is how long a command may still wait to be started, in milliseconds: at least 1 of one that has started in time,
// and is delivered again. 0 is for ever.
func expiresIn(e *ledger.Entry, now time.Time) uint64 {
	if e.Command.ExpiresAt.IsZero() {
		return 0
	}
	return uint64(max(1, e.Command.ExpiresAt.Sub(now).Milliseconds()))
}

// overdue says whether a command that is due for delivery is to be concluded instead.
func (c *Controller) overdue(e *ledger.Entry, now time.Time) bool {
	return e.Expirable(now) || e.Hopeless(c.opts.MaxAttempts) != "" || e.Cancel != nil && e.State.Stage == ack.Delivered
}

// giveUp concludes a command that overdue has picked, if it still is.
func (c *Controller) giveUp(e *ledger.Entry, now time.Time) {
	switch {
	case e.Expirable(now):
		e.Conclude(ack.Expired, "", "not started in time", now)
	case e.Cancel != nil && e.State.Stage == ack.Delivered:
		e.Conclude(ack.Canceled, "", e.Cancel.Reason, now)
	default:
		e.GiveUp(c.opts.MaxAttempts, now)
	}
}

// handOut has the ledger know that the deliveries of a page are.
func (l *link) handOut(p *page) error {
	if err := p.sent(); err != nil {
		return err
	}
	l.c.delivered(l.hello.VM, p)
	return nil
}

// sent records, durably, that a link has what no link has had so far: a command that expires before that, or whose VM is gone,
// gives its idempotency key free, and must not be run. One that has ended so since it was collected leaves the page.
func (p *page) sent() error {
	if len(p.unsent) == 0 {
		return nil
	}
	edits := make([]ledger.Edit, len(p.unsent))
	for i, e := range p.unsent {
		edits[i] = ledger.Edit{ID: e.Command.ID, Do: (*ledger.Entry).Send}
	}
	// Whoever waits for the page may have gone: the mailbox takes what is on it for handed out all the same.
	edited, err := p.l.c.ledger.Update(context.Background(), p.l.box.vm, edits...)
	if err != nil {
		return getError(err)
	}
	for i := range edited {
		if edited[i].Err != nil {
			id := edits[i].ID
			p.deliveries = slices.DeleteFunc(p.deliveries, func(d transport.Delivery) bool { return d.ID == id })
		}
	}
	return nil
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
