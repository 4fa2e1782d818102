package controller

import (
	"sync"

	"github.com/miglink/miglink/ledger"
)

// waiters wakes those who wait for a command: for its next change, or for its end. Most wait for that,
// and are not to be woken in vain.
type waiters struct {
	changed, settled waitList

	once   sync.Once
	closed chan struct{}
}

func (w *waiters) init() {
	w.changed.byID = map[string]*waiter{}
	w.settled.byID = map[string]*waiter{}
	w.closed = make(chan struct{})
}

func (w *waiters) wake(e *ledger.Entry) {
	w.changed.wake(e)
	if e.State.Settled() {
		w.settled.wake(e)
	}
}

func (w *waiters) close() { w.once.Do(func() { close(w.closed) }) }

// waitList is who waits for one kind of change.
type waitList struct {
	mu   sync.Mutex
	byID map[string]*waiter // the first of each command's

	spare sync.Pool // of waiters that nobody waits with
}

// waiter is somebody who waits for one command.
type waiter struct {
	made chan *ledger.Entry // the change; holds one
	next *waiter
}

// join waits for the next change of a command after this call. Whoever joins leaves.
func (l *waitList) join(id string) *waiter {
	w, ok := l.spare.Get().(*waiter)
	if !ok {
		w = &waiter{made: make(chan *ledger.Entry, 1)}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	w.next = l.byID[id]
	l.byID[id] = w
	return w
}

func (l *waitList) leave(id string, w *waiter) {
	l.mu.Lock()
	defer l.mu.Unlock()
	first := l.byID[id]
	for at := &first; *at != nil; at = &(*at).next {
		if *at == w {
			*at = w.next
			break
		}
	}
	if first == nil {
		delete(l.byID, id)
	} else {
		l.byID[id] = first
	}
	select {
	case <-w.made: // a change that came too late
	default:
	}
	w.next = nil
	l.spare.Put(w)
}

func (l *waitList) wake(e *ledger.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w := l.byID[e.Command.ID]
	if w == nil {
		return
	}
	delete(l.byID, e.Command.ID)
	for w != nil {
		next := w.next
		w.next = nil
		w.made <- e
		w = next
	}
}
