package bolt

import (
	"slices"
	"sync"

	"github.com/miglink/miglink/ledger"
)

// maxBatch is how many requests one commit takes.
const maxBatch = 1024

// queue is the requests that the writer has not taken yet. Whoever adds one is woken once, when it is done; a
// channel of requests would wake them a second time, when it is taken.
type queue struct {
	some chan struct{} // something waits; holds one

	mu      sync.Mutex
	waiting []*request
	taken   []*request // the latest, for its room
	closed  bool
}

func newQueue() queue { return queue{some: make(chan struct{}, 1)} }

// add returns false after close.
func (q *queue) add(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return false
	}
	q.waiting = append(q.waiting, r)
	q.tell()
	return true
}

// remove takes a request back; false: the writer has it, or has done it.
func (q *queue) remove(r *request) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	i := slices.Index(q.waiting, r)
	if i < 0 {
		return false
	}
	q.waiting = slices.Delete(q.waiting, i, i+1)
	return true
}

// take returns the oldest, as many as one commit takes, in a slice that the next call uses again.
func (q *queue) take() []*request {
	q.mu.Lock()
	defer q.mu.Unlock()
	n := min(len(q.waiting), maxBatch)
	q.taken = append(q.taken[:0], q.waiting[:n]...)
	if q.waiting = slices.Delete(q.waiting, 0, n); len(q.waiting) > 0 {
		q.tell()
	}
	return q.taken
}

// close refuses what waits, and all that comes.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	for _, r := range q.waiting {
		r.done <- ledger.ErrClosed
	}
	q.waiting = nil
}

// tell is called with mu held.
func (q *queue) tell() {
	select {
	case q.some <- struct{}{}:
	default:
	}
}
