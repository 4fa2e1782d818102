package controller

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"
	"unique"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// maxFenced is how many fenced instances of a VM are remembered.
const maxFenced = 8

// mailbox is one VM as the controller sees it: who is there, and what has been handed out. What is
// asked of the VM is in the ledger. A mailbox outlives its links; there is one goroutine per open
// link, the one in Receive, and none of the mailbox's own.
type mailbox struct {
	c  *Controller
	vm string

	mu    sync.Mutex
	link  *link // that commands go to, or nil
	lanes [2]lane

	instance string
	fenced   []string              // instances that are not to come back, oldest first
	via      unique.Handle[string] // of all VMs there are few
	since    time.Time             // of being online or offline
	lastSeen time.Time
	lease    lease // runs while no link is open
	meters   meters

	// What is small is together, which takes less room.
	online    bool
	dialed    bool  // the lanes are of some earlier link
	forgotten bool  // this is the VM's mailbox no more
	open      int32 // links, also those for acks and events only
}

// lane is what was handed out of one lane of the VM's queue.
type lane struct {
	high    uint64   // entries up to here were handed out, or arrived before
	flights []flight // those of them that are not settled, by seq
}

// flight is a command between its delivery and its end.
type flight struct {
	seq     uint64
	id      string
	due     time.Time // deliver again
	version int       // of the entry, when last looked at

	// deferred means that the agent asked to try again at due. It keeps its place: nothing after
	// it in the lane is handed out before.
	deferred bool
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
	if b.isFenced(hello.Instance) {
		return superseded(b.vm)
	}
	now := time.Now()
	if err := b.resume(ctx, hello, now); err != nil {
		return err
	}
	if b.instance != hello.Instance && b.instance != "" && hello.Instance != "" {
		b.fence(b.instance, hello.Instance, now)
	} else if b.link != nil {
		b.link.end(transport.Errorf(transport.CodeReplaced, "another link of the same VM was opened"))
	}
	if b.instance != hello.Instance {
		b.instance = strings.Clone(hello.Instance) // it may be part of a request, which goes
	}
	b.via = unique.Make(hello.Via)
	l.hello.Instance, l.hello.Via, l.hello.After = b.instance, b.via.Value(), ""
	b.link = l
	b.c.leases.end(b)
	b.dialed = true
	b.seen(now)
	return nil
}

// detach is for a link that was closed: from now on the lease runs.
func (b *mailbox) detach(l *link) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.link == l {
		b.link = nil
		b.rest()
		b.seen(time.Now())
	}
}

// fence shuts an older instance out for good.
func (b *mailbox) fence(old, newer string, now time.Time) {
	if b.fenced = append(b.fenced, old); len(b.fenced) > maxFenced {
		b.fenced = slices.Delete(b.fenced, 0, 1)
	}
	if b.link != nil {
		b.link.end(superseded(b.vm))
	}
	b.c.log.Info("instance fenced", "vm_id", b.vm, "instance", old, "by", newer)
	b.c.watch.publish(Notice{Kind: NoticeFenced, At: now, VM: b.vm, Old: old, New: newer})
}

func (b *mailbox) isFenced(instance string) bool {
	return instance != "" && slices.Contains(b.fenced, instance)
}

func superseded(vm string) error {
	return transport.Errorf(transport.CodeSuperseded, "a newer instance of %s has taken over", vm)
}

// resume sets what counts as handed out to what the cursor says has arrived.
func (b *mailbox) resume(ctx context.Context, hello transport.Hello, now time.Time) error {
	if b.dialed && hello.After == "" && hello.Instance == "" && b.instance == "" {
		// A poller that knows neither cursors nor instances would otherwise get every unsettled
		// command at each poll: it gets one again when the ack deadline has passed.
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
	*b.lane(ledger.Normal) = normal
	*b.lane(ledger.Urgent) = urgent
	return nil
}

// landed is a lane of which everything up to high has arrived. Deadlines that run go on.
func (b *mailbox) landed(ctx context.Context, which ledger.Lane, high uint64, now time.Time) (lane, error) {
	l := lane{high: high}
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
			f := flight{seq: e.Seq, id: e.Command.ID, due: b.deadline(e, now), version: e.Version, deferred: e.State.Stage == ack.Deferred}
			if old := b.lane(which).find(e.Seq); old != nil {
				f = *old
			}
			l.flights = append(l.flights, f)
		}
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

// observe takes note of what became of a command; heard says that the agent spoke of it. It returns
// false for a state of the entry that is older than one observed before. mu is locked.
func (b *mailbox) observe(e *ledger.Entry, heard bool) bool {
	l := b.lane(e.Lane())
	f := l.find(e.Seq)
	if f == nil {
		return true
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

func (l *lane) find(seq uint64) *flight {
	i, ok := l.search(seq)
	if !ok {
		return nil
	}
	return &l.flights[i]
}

func (l *lane) blocked() bool {
	return slices.ContainsFunc(l.flights, func(f flight) bool { return f.deferred })
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
