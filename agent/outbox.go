package agent

import (
	"slices"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
)

const (
	ackBatch = 256                   // acks in one call
	linger   = 20 * time.Millisecond // how long what nobody waits for may wait for company

	// ahead is how many batches more may be under way before the first is answered, where each has to be
	// waited for, and posted where none has.
	ahead  = 3
	posted = 16
)

// outbox holds what is to be told until the controller has recorded it: at most one ack per command,
// the latest, and a final one stays. While an ack is under way the next of its command waits for the answer, or it might
// arrive first; but a final one does not, which nothing that arrives later undoes.
type outbox struct {
	mu      sync.Mutex
	letters map[string]letters // by command ID
	order   []string           // whose next may go
	sending int                // letters that are under way
	batches int                // likewise
	waits   bool               // a take got nothing since so many were

	held     bool // for a page's sake; what is put meanwhile is signalled when that is over
	heldNow  bool
	heldSoon bool

	now   chan struct{} // holds one: send at once
	soon  chan struct{} // holds one: send after lingering
	empty chan struct{} // closed when there is nothing left; nil unless somebody waits
}

// letters are those about one command.
type letters struct {
	next     *letter // nil: nothing waits
	underWay int
}

// mayGo says whether the next is in the order.
func (l letters) mayGo() bool {
	return l.next != nil && (l.underWay == 0 || l.next.ack.Stage.Final())
}

type letter struct {
	ack     *ack.Ack      // nobody writes to it
	done    []func(error) // told when it is recorded (nil) or refused for good
	finally []func()      // done when the end of the command is recorded
	plain   bool          // the controller has refused it with what else there was
	repeats bool          // it says nothing that an earlier one has not said
}

// raise has l tell a later attempt.
func (l *letter) raise(attempt int) {
	if attempt > l.ack.Attempt {
		again := *l.ack
		again.Attempt = attempt
		l.ack = &again
	}
}

// after is what is to be said where an older letter came back and l, unless it is nil, has been written since.
func (l *letter) after(older *letter) *letter {
	if l == nil {
		return older
	}
	if l.repeats && older.ack.Stage == ack.Progress || older.ack.Stage.Final() && !l.ack.Stage.Final() {
		attempt := l.ack.Attempt
		l.ack, l.repeats = older.ack, older.repeats
		l.raise(attempt)
	}
	l.done = append(older.done, l.done...)
	l.finally = append(older.finally, l.finally...)
	return l
}

func newOutbox() *outbox {
	return &outbox{letters: map[string]letters{}, now: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
}

func (o *outbox) size() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.letters)
}

// put has an ack sent; done, unless nil, is told of the answer.
func (o *outbox) put(a ack.Ack, now bool, done func(error)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.write(&a)
	if l == nil {
		return
	}
	if done != nil {
		l.done = append(l.done, done)
	}
	o.signal(now)
}

// putFinal has the end of a command sent, and done what is to be done finally.
func (o *outbox) putFinal(a *ack.Ack, finally []func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	l := o.write(a)
	l.finally = append(l.finally, finally...)
	o.signal(true)
}

// repeat has an ack sent that says nothing new: progress and an end that wait go instead, with the attempt.
func (o *outbox) repeat(a ack.Ack) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if next := o.letters[a.CommandID].next; next != nil && (next.ack.Stage == ack.Progress || next.ack.Stage.Final()) {
		next.raise(a.Attempt)
	} else {
		o.write(&a).repeats = true
	}
	o.signal(true)
}

// write returns the letter about a command, with a in it; nil where that has ended already. mu is locked.
func (o *outbox) write(a *ack.Ack) *letter {
	about := o.letters[a.CommandID]
	went := about.mayGo()
	switch {
	case about.next == nil:
		about.next = &letter{ack: a}
		o.letters[a.CommandID] = about
	case about.next.ack.Stage.Final() && !a.Stage.Final():
		return nil
	default:
		about.next.ack, about.next.repeats = a, false
	}
	if !went && about.mayGo() {
		o.order = append(o.order, a.CommandID)
	}
	return about.next
}

// hold has what is put wait for release.
func (o *outbox) hold() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = true
}

// release returns whether there is something to send at once, which the caller has to.
func (o *outbox) release() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	now, soon := o.heldNow, o.heldSoon
	o.held, o.heldNow, o.heldSoon = false, false, false
	if soon && !now {
		o.signal(false)
	}
	return now
}

func (o *outbox) signal(now bool) {
	c := o.soon
	switch {
	case o.held && now:
		o.heldNow = true
		return
	case o.held:
		o.heldSoon = true
		return
	case now:
		c = o.now
	}
	select {
	case c <- struct{}{}:
	default:
	}
}

// take moves a batch of letters out, oldest first, unless most batches are under way. Each take that
// returns some has its sent.
func (o *outbox) take(most int) []*letter {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := min(ackBatch, len(o.order))
	if n > 0 && o.batches >= most {
		o.waits = true
		n = 0
	}
	if n == 0 {
		return nil
	}
	o.batches++
	batch := make([]*letter, n)
	for i, id := range o.order[:n] {
		about := o.letters[id]
		batch[i] = about.next
		about.next = nil
		about.underWay++
		o.letters[id] = about
	}
	o.order = slices.Delete(o.order, 0, n)
	o.sending += n
	if len(o.order) > 0 {
		o.signal(true)
	}
	return batch
}

// sent ends a take. What is in again, in the order of the batch, goes back, unless something newer is known by now.
func (o *outbox) sent(batch, again []*letter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending -= len(batch)
	o.batches--
	ready := make([]string, 0, len(again))
	for _, l := range batch {
		id := l.ack.CommandID
		about := o.letters[id]
		went := about.mayGo()
		about.underWay--
		if len(again) > 0 && again[0].ack.CommandID == id {
			about.next = about.next.after(again[0])
			again = again[1:]
		}
		if about == (letters{}) {
			delete(o.letters, id)
			continue
		}
		o.letters[id] = about
		if !went && about.mayGo() {
			ready = append(ready, id)
		}
	}
	o.order = append(ready, o.order...) // they are the oldest
	if len(ready) > 0 || o.waits {
		o.waits = false
		o.signal(true)
	}
	if len(o.order) == 0 && o.sending == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
	}
}

// stamp has the ends that wait say when their commands were created.
func (o *outbox) stamp(created func(id string) time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for id, about := range o.letters {
		if l := about.next; l != nil && l.ack.Stage.Final() && l.ack.CreatedAt.IsZero() {
			l.ack = stamped(l.ack, created(id))
		}
	}
}

// wake has what was left over another link be sent.
func (o *outbox) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.signal(true)
}

// emptied returns a channel that is closed when nothing is left to be recorded.
func (o *outbox) emptied() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	c := make(chan struct{})
	if len(o.order) == 0 && o.sending == 0 {
		close(c)
	} else {
		o.empty = c
	}
	return c
}
