package controller

import (
	"sync"
	"time"
)

// leases are those that run, of VMs without a link. All take the same time, so they run out in the order in which they
// were renewed last, and one timer does for all: a timer each would be much of what a VM costs that has gone.
type leases struct {
	term  time.Duration
	began time.Time

	mu          sync.Mutex
	first, last *mailbox    // of those that run, in the order in which they run out
	timer       *time.Timer // goes off when the first runs out, or before
	stopped     bool
}

// lease is the place of a VM among those that run. It is guarded by leases.mu.
type lease struct {
	before, next *mailbox
	out          time.Duration // when it runs out, since the beginning; 0: it does not run
}

func newLeases(term time.Duration) *leases {
	l := &leases{term: term, began: time.Now()}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.timer = time.AfterFunc(term, l.lapse)
	return l
}

// renew has the lease of a VM run from now on.
func (l *leases) renew(b *mailbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped {
		return
	}
	l.remove(b)
	b.lease = lease{before: l.last, out: time.Since(l.began) + l.term}
	if l.last != nil {
		l.last.lease.next = b
	} else {
		l.first = b
		l.timer.Reset(l.term)
	}
	l.last = b
}

// end has the lease of a VM not run any more.
func (l *leases) end(b *mailbox) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.remove(b)
}

func (l *leases) remove(b *mailbox) {
	at := b.lease
	if at.out == 0 {
		return
	}
	if at.before != nil {
		at.before.lease.next = at.next
	} else {
		l.first = at.next
	}
	if at.next != nil {
		at.next.lease.before = at.before
	} else {
		l.last = at.before
	}
	b.lease = lease{}
}

// lapse tells those whose lease has run out. Each has a goroutine, since no VM waits for another.
func (l *leases) lapse() {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := time.Since(l.began)
	for b := l.first; b != nil && b.lease.out <= now; b = l.first {
		l.remove(b)
		go b.lapse()
	}
	if l.first != nil && !l.stopped {
		l.timer.Reset(l.first.lease.out - now)
	}
}

// stop has none run out any more.
func (l *leases) stop() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stopped = true
	l.timer.Stop()
}
