package controller

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"
	"unique"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// mailbox is one VM as the controller sees it: who is there, and what has been handed out. What is
// asked of the VM is in the ledger. A mailbox outlives its links; there is one goroutine per open
// link, the one in Receive, and none of the mailbox's own.
type mailbox struct {
	c  *Controller
	vm string

	mu    sync.Mutex
	link  *link // that commands go to, or nil
	lanes [2]lane

	instances
	via      unique.Handle[string] // of all VMs there are few
	skew     time.Duration         // of the VM's clock
	since    time.Time             // of being online or offline
	lastSeen time.Time
	lease    lease // runs while no link is open
	meters   meters

	abandoned *abandonedRuns // nil: none

	// What is small is together, which takes less room.
	online    bool
	dialed    bool  // the lanes are of some earlier link
	forgotten bool  // this is the VM's mailbox no more
	noDisk    bool  // the agent of the latest link cannot journal
	open      int32 // links, also those for acks and events only
}

// lane is what was handed out of one lane of the VM's queue.
type lane struct {
	high    uint64   // entries up to here were handed out, or arrived before
	flights []flight // those of them that are not settled, by seq
	care    *care    // nil: nothing is to be taken care of
}

// care is what seldom is to be known of a lane.
type care struct {
	before []flight // of a client without cursors, to which everything is handed out again

	// What did not arrive twice in a row is handed out alone, and nothing after it before it has.
	alone uint64    // flight.nth of the latest that was; 0: none, over this link
	held  time.Time // something waits for evidence since; zero: nothing does
}

// flight is a command between its delivery and its end.
type flight struct {
	seq     uint64
	id      string
	due     time.Time // deliver again
	version int       // of the entry, when last looked at

	// deferred means that the agent asked to try again at due. It keeps its place: nothing after
	// it in the normal lane is handed out before. An urgent command waits for no deferral.
	deferred bool

	nth     uint64 // of what the link has handed out, latest; 0: the agent has it from an earlier link
	times   int32  // it was handed out since it was last counted, or answered
	waited  int32  // deadlines that have passed since it was handed out more often than is of use without evidence
	missed  bool   // the link has ended, and it is not known to have arrived
	toBlame bool   // the link had passed all before it
}

func (b *mailbox) lane(l ledger.Lane) *lane {
	if l == ledger.Urgent {
		return &b.lanes[1]
	}
	return &b.lanes[0]
}

// smallCommand is how many bytes of parameters whoever sends a command may be asked to write to a socket,
// which has room for them if nothing else is under way.
const smallCommand = 4 << 10

// wake makes the link look for commands, after one with so many bytes of parameters was sent.
func (b *mailbox) wake(size int) {
	b.mu.Lock()
	l := b.link
	alone := size <= smallCommand && len(b.lanes[0].flights) == 0 && len(b.lanes[1].flights) == 0
	b.mu.Unlock()
	if l != nil {
		l.wakeNow(alone)
	}
}

// attach makes l the VM's link and ends the one before. It refuses a fenced instance.
func (b *mailbox) attach(ctx context.Context, l *link, hello transport.Hello) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if by := b.fencedBy(hello.Instance); by != "" {
		return superseded(hello.Instance, by, b.vm)
	}
	now := time.Now()
	if err := b.resume(ctx, hello, now); err != nil {
		return err
	}
	l.seen.passes = hello.Via == "" || hello.Heard.Poll && hello.Heard.Answered
	l.seen.speaks = (hello.Heard.Poll || hello.Heard.NoCursor) && !hello.Heard.Unsaid
	if hello.Instance != b.linked {
		b.noDisk = false
	}
	b.takeOver(l, hello.Instance, now)
	b.via = unique.Make(hello.Via)
	if b.skew = 0; !hello.Time.IsZero() {
		b.skew = hello.Time.Sub(now)
	}
	l.hello.Instance, l.hello.Via, l.hello.After = b.linked, b.via.Value(), ""
	b.c.leases.end(b)
	b.dialed = true
	b.seen(now)
	return nil
}

// detach is for a link that was closed: from now on the lease runs.
func (b *mailbox) detach(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch l {
	case b.beside:
		b.beside = nil
	case b.link:
		b.parted(l)
		// What was handed out by l comes by the other when it is due again.
		if b.link, b.beside = b.beside, nil; b.link != nil {
			b.linked = b.link.hello.Instance
			b.link.wake()
		}
		b.rest()
		b.seen(time.Now())
	}
}

// resume sets what counts as handed out to what the cursor says has arrived.
func (b *mailbox) resume(ctx context.Context, hello transport.Hello, now time.Time) error {
	if b.link != nil {
		b.parted(b.link)
	}
	if b.dialed && hello.After == "" && hello.Instance == "" && b.linked == "" {
		// A poller that knows neither cursors nor instances would otherwise get every unsettled
		// command at each poll: it gets one again when the ack deadline has passed. That it asks again shows that it has
		// got the answer to the poll before.
		for i := range b.lanes {
			if care := b.lanes[i].care; care != nil {
				care.alone = 0
			}
			for j := range b.lanes[i].flights {
				b.lanes[i].flights[j].nth = 0
			}
		}
		return nil
	}
	at, _ := parseCursor(hello.After, b.c.ledger.Epoch())
	if top := max(at.normal, at.urgent); top > max(b.lanes[0].high, b.lanes[1].high) {
		newest, err := b.c.ledger.List(ctx, b.vm, 0, 1)
		if err != nil {
			return getError(err)
		}
		if len(newest) == 0 || top > newest[0].Seq {
			at = position{} // of no ledger of ours
		}
	}
	normal, err := b.landed(ctx, ledger.Normal, at.normal, now)
	if err != nil {
		return err
	}
	urgent, err := b.landed(ctx, ledger.Urgent, at.urgent, now)
	if err != nil {
		return err
	}
	if b.dialed && hello.Instance == b.linked { // else its process may have ended, for whatever reason
		b.fate(b.lanes[0].flights, normal.high, hello, now)
		b.fate(b.lanes[1].flights, urgent.high, hello, now)
		if hello.Heard.NoCursor {
			normal.keep(b.lanes[0].flights)
			urgent.keep(b.lanes[1].flights)
		}
	}
	b.lanes = [...]lane{normal, urgent}
	return nil
}

// landed is a lane of which everything up to high has arrived. Deadlines that run go on.
func (b *mailbox) landed(ctx context.Context, which ledger.Lane, high uint64, now time.Time) (lane, error) {
	l := lane{high: high}
	if care := b.lane(which).care; care != nil && !care.held.IsZero() {
		l.takeCare().held = care.held
	}
	var arrived []ledger.Edit
	for after := uint64(0); after < high; {
		page, err := b.c.ledger.Pending(ctx, b.vm, which, after, b.c.opts.Window)
		if err != nil {
			return l, getError(err)
		}
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			if after = e.Seq; after > high {
				break
			}
			f := flight{seq: e.Seq, id: e.Command.ID, due: b.deadline(e, now), version: e.Version, deferred: e.State.Stage == ack.Deferred, times: 1}
			if old := b.lane(which).find(e.Seq); old != nil {
				f = *old
				f.nth, f.missed, f.toBlame = 0, false, false
			}
			if e.Misses() > 0 {
				arrived = append(arrived, ledger.Edit{ID: f.id, Do: func(e *ledger.Entry) error { e.Arrived(); return nil }})
			}
			l.flights = append(l.flights, f)
		}
	}
	if len(arrived) > 0 {
		b.c.ledger.Note(b.vm, arrived...)
	}
	return l, nil
}

// deadline is when a command is delivered again, should nothing be heard of it from now on.
func (b *mailbox) deadline(e *ledger.Entry, now time.Time) time.Time {
	if e.State.Stage == ack.Deferred {
		return e.NotBefore
	}
	return now.Add(b.c.opts.AckDeadline)
}

// observe takes note of what became of a command; heard says that the agent spoke of it, of attempt (0: the latest). It returns
// false for a state of the entry that is older than one observed before. mu is locked.
func (b *mailbox) observe(e *ledger.Entry, heard bool, attempt int) bool {
	l := b.lane(e.Lane())
	f := l.find(e.Seq)
	if f == nil {
		return true
	}
	if heard {
		b.answered(f, e, attempt)
		f.times = 0
	}
	if e.Version < f.version {
		return false
	}
	f.version = e.Version
	held := f.deferred || b.link != nil && len(l.flights) >= b.link.window // something may wait for this
	switch {
	case e.State.Settled():
		l.drop(e.Seq)
		if b.link == nil {
			b.rest()
		}
	case heard:
		f.due, f.deferred = b.deadline(e, time.Now()), e.State.Stage == ack.Deferred
		held = held || f.deferred
	default:
		return true
	}
	if held && b.link != nil {
		b.link.wake()
	}
	return true
}

func (l *lane) takeCare() *care {
	if l.care == nil {
		l.care = &care{}
	}
	return l.care
}

// keep keeps what was handed out to a client without cursors, for again.
func (l *lane) keep(flights []flight) {
	if len(flights) > 0 {
		l.takeCare().before = flights
	}
}

// again keeps the deadline of what a client without cursors has got before.
func (l *lane) again(f *flight, now time.Time) {
	if l.care == nil {
		return
	}
	i := slices.IndexFunc(l.care.before, func(old flight) bool { return old.seq == f.seq })
	if i < 0 {
		return
	}
	f.times = l.care.before[i].times
	if due := l.care.before[i].due; now.Before(due) {
		f.due = due
	}
}

func (l *lane) find(seq uint64) *flight {
	i, ok := l.search(seq)
	if !ok {
		return nil
	}
	return &l.flights[i]
}

// room is how many more of the lane may be handed out now.
func (l *lane) room(window int, which ledger.Lane) int {
	room := window
	for i := range l.flights {
		switch {
		case !l.flights[i].deferred:
			room--
		case which == ledger.Normal:
			return 0
		}
	}
	return room
}

func (l *lane) drop(seq uint64) {
	switch i, ok := l.search(seq); {
	case !ok:
	case i == 0: // as a rule; the others need not move up
		l.flights[0] = flight{}
		l.flights = l.flights[1:]
	default:
		l.flights = slices.Delete(l.flights, i, i+1)
	}
}

// rest gives up the room of a VM that has no link, and may not come back.
func (b *mailbox) rest() {
	for i := range b.lanes {
		if len(b.lanes[i].flights) == 0 {
			b.lanes[i].flights = nil
		}
	}
}

func (l *lane) search(seq uint64) (int, bool) {
	return slices.BinarySearchFunc(l.flights, seq, func(f flight, seq uint64) int { return cmp.Compare(f.seq, seq) })
}
