package controller

import (
	"math"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// What is not answered may not have arrived. A delivery counts against its command only where it is known to have arrived,
// and the agent could have answered: an ack of a command that was handed out after it on the same link shows that, or the
// answer to something that was sent after it, or a later cursor and that something else has come since. One that is known
// not to have arrived counts only where the link had passed something, everything before it included, and ended then.
//
// All this is guarded by mailbox.mu.
type evidence struct {
	handed  uint64 // deliveries
	arrived uint64 // of these, from the first, those that are known to have
	passes  bool   // something has come down the link since its welcome
	speaks  bool   // and something back up, by the way that acks come
	ask     func() // has the peer answer something; nil: nobody can
	waits   bool   // something is not handed out before there is more evidence
}

// elsewhere is flight.nth of what was handed out by a link that is not the VM's any more, and may have arrived or not.
const elsewhere = math.MaxUint64

// holdTime is how long what did not arrive is held back for evidence that a link works at all. Some peers give none.
const holdTime = 30 * time.Second

// counts says whether a delivery that was not answered in time counts against its command.
func (e *evidence) counts(f *flight) bool { return e.speaks && f.nth <= e.arrived }

// toBlame says whether the end of the link, should it come, is to be laid on the next delivery.
func (e *evidence) toBlame() bool { return e.passes && e.arrived == e.handed }

// hand takes note that f is handed out.
func (e *evidence) hand(f *flight) {
	f.toBlame = e.toBlame()
	e.handed++
	f.nth = e.handed
	f.times++
}

// came takes note that the first n deliveries have arrived, and says whether somebody waits to know.
func (e *evidence) came(n uint64) (wanted bool) {
	e.arrived = max(e.arrived, min(n, e.handed))
	e.passes, e.speaks = true, true
	wanted = e.waits
	e.waits = false
	return wanted
}

// Ask implements transport.Witness.
func (l *link) Ask(ask func()) {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	l.seen.ask = ask
}

// Arrived implements transport.Witness.
func (l *link) Arrived(n uint64) {
	l.box.mu.Lock()
	defer l.box.mu.Unlock()
	l.came(n)
}

func (l *link) came(n uint64) {
	if l.seen.came(n) {
		l.wake()
	}
}

// wants says that there is something to be looked at again when there is more evidence. mu is locked.
func (p *page) wants() {
	p.l.seen.waits = true
	p.ask = p.l.seen.ask
}

// witness takes what an uplink says of the link that commands go to. mu is locked.
func (b *mailbox) witness(hello transport.Hello) {
	if !hello.Heard.Answered || b.link == nil || b.linked != hello.Instance {
		return
	}
	at, _ := parseCursor(hello.After, b.c.ledger.Epoch())
	n := uint64(0)
	for i, high := range [...]uint64{at.normal, at.urgent} {
		for _, f := range b.lanes[i].flights {
			if f.seq <= high && f.nth != elsewhere {
				n = max(n, f.nth)
			}
		}
	}
	b.link.came(n)
}

// answered takes the ack of a flight as evidence, if it is of the latest delivery. mu is locked.
func (b *mailbox) answered(f *flight, e *ledger.Entry, attempt int) {
	if b.link != nil && f.nth != elsewhere && (attempt == 0 || attempt >= e.State.Attempt) {
		b.link.came(f.nth)
	}
}

// parted is the end of the link that commands went to: of what it has handed out and is not known to have arrived, only the
// first may have ended it. mu is locked.
func (b *mailbox) parted(l *link) {
	var first *flight
	for i := range b.lanes {
		for j := range b.lanes[i].flights {
			f := &b.lanes[i].flights[j]
			f.missed = f.nth > l.seen.arrived && f.nth != elsewhere
			if f.missed && (first == nil || f.nth < first.nth) {
				first = f
			}
		}
	}
	for i := range b.lanes {
		for j := range b.lanes[i].flights {
			f := &b.lanes[i].flights[j]
			f.nth, f.toBlame = elsewhere, f.toBlame && f == first && !l.endedByUs()
		}
	}
}

// endedByUs says whether the controller had a reason of its own to end the link.
func (l *link) endedByUs() bool {
	select {
	case <-l.done:
		return l.err != transport.ErrClosed //nolint:errorlint // the very value that Close sets
	default:
		return false
	}
}

// fate notes what has become of what was handed out before a link of the same client was opened, of which everything after
// high is handed out again. mu is locked.
func (b *mailbox) fate(flights []flight, high uint64, hello transport.Hello, now time.Time) {
	var edits []ledger.Edit
	via := b.via.Value()
	for i := range flights {
		f := &flights[i]
		switch {
		case f.seq <= high || f.deferred:
		case !hello.Heard.NoCursor:
			toBlame := f.missed && f.toBlame
			edits = append(edits, ledger.Edit{ID: f.id, Do: func(e *ledger.Entry) error {
				e.Missed(toBlame, via)
				return nil
			}})
		case !now.Before(f.due) && !hello.Heard.Unsaid:
			edits = append(edits, ledger.Edit{ID: f.id, Do: func(e *ledger.Entry) error {
				e.Unanswered(1) // each poll of that time has brought it
				return nil
			}})
			f.times = 0
		}
	}
	if len(edits) > 0 {
		b.c.ledger.Note(b.vm, edits...)
	}
}
