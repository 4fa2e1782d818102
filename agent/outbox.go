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
// the latest, and a final one stays.
type outbox struct {
	mu      sync.Mutex
	letters map[string]*letter
	order   []string
	sending int  // letters that are under way
	batches int  // likewise
	waits   bool // a take got nothing since so many were

	held     bool // for a page's sake; what is put meanwhile is signalled when that is over
	heldNow  bool
	heldSoon bool

	now   chan struct{} // holds one: send at once
	soon  chan struct{} // holds one: send after lingering
	empty chan struct{} // closed when there is nothing left; nil unless somebody waits
}

type letter struct {
	ack     *ack.Ack      // nobody writes to it
	done    []func(error) // told when it is recorded (nil) or refused for good
	finally []func()      // done when the end of the command is recorded
}

func newOutbox() *outbox {
	return &outbox{letters: map[string]*letter{}, now: make(chan struct{}, 1), soon: make(chan struct{}, 1)}
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

// write returns the letter about a command, with a in it; nil where that has ended already. mu is locked.
func (o *outbox) write(a *ack.Ack) *letter {
	l := o.letters[a.CommandID]
	switch {
	case l == nil:
		l = &letter{ack: a}
		o.letters[a.CommandID] = l
		o.order = append(o.order, a.CommandID)
	case l.ack.Stage.Final() && !a.Stage.Final():
		return nil
	default:
		l.ack = a
	}
	return l
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
		batch[i] = o.letters[id]
		delete(o.letters, id)
	}
	o.order = slices.Delete(o.order, 0, n)
	o.sending += n
	if len(o.order) > 0 {
		o.signal(true)
	}
	return batch
}

// sent ends a take of n; what is in again goes back, unless something newer is known by now.
func (o *outbox) sent(n int, again []*letter) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sending -= n
	o.batches--
	back := make([]string, 0, len(again))
	for _, l := range again {
		id := l.ack.CommandID
		if newer := o.letters[id]; newer != nil {
			if l.ack.Stage.Final() && !newer.ack.Stage.Final() {
				newer.ack = l.ack
			}
			newer.done = append(l.done, newer.done...)
			newer.finally = append(l.finally, newer.finally...)
			continue
		}
		o.letters[id] = l
		back = append(back, id)
	}
	o.order = append(back, o.order...)
	if len(back) > 0 || o.waits {
		o.waits = false
		o.signal(true)
	}
	if len(o.order) == 0 && o.sending == 0 && o.empty != nil {
		close(o.empty)
		o.empty = nil
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
