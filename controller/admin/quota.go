package admin

import (
	"sync"
	"time"
)

const (
	recordsOfNobody   = 1  // a second, of all who show no good credentials
	recordsOfOperator = 10 // a second, of each operator, of what changes nothing

	// Bytes of records of what was allowed, and so recorded first, and then changed nothing: a send of an ID that is known,
	// of a VM whose queue is full, a cancel of what has ended. Of each operator; to repeat a large file of commands takes
	// less.
	maxVain    = 16 << 20 // at once
	vainEarned = 8 << 10  // a second

	// maxTallies is how many operators are counted one by one; those beyond share a tally.
	maxTallies = 1024
)

// quota bounds how many records there are of what changes nothing: whoever has no credentials, or those of somebody
// who may only read, must not fill the disk, without which nothing could be sent any more. The zero value is ready.
type quota struct {
	mu      sync.Mutex
	nobody  tally
	others  tally // of operators beyond maxTallies
	tallies map[string]*tally
}

// tally is the records of one second.
type tally struct {
	second int64
	n      int
	missed int // since the last that was recorded

	vain   int // bytes of records of what changed nothing, less those earned until vainAt
	vainAt time.Time
}

// spend counts bytes of records of what an operator was allowed and what has changed nothing.
func (q *quota) spend(operator string, bytes int, now time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.of(operator, now)
	t.earn(now)
	t.vain += bytes
}

// owes is how long an operator has to wait before anything that is recorded first; 0: it may go on.
func (q *quota) owes(operator string, now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	t := q.of(operator, now)
	t.earn(now)
	if t.vain <= maxVain {
		return 0
	}
	return time.Duration(1+(t.vain-maxVain)/vainEarned) * time.Second
}

// earn gives back what was earned, in whole seconds.
func (t *tally) earn(now time.Time) {
	passed := now.Sub(t.vainAt) / time.Second
	if t.vain > 0 && passed <= 0 {
		return // or what is earned in parts of a second would be lost
	}
	t.vain = max(0, t.vain-int(min(passed, 2*maxVain/vainEarned))*vainEarned)
	t.vainAt = now
}

// take says whether one more of an operator is to be recorded, and how many before it were not.
func (q *quota) take(anonymous bool, operator string, now time.Time) (missed int, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if anonymous {
		return q.nobody.take(recordsOfNobody, now)
	}
	return q.of(operator, now).take(recordsOfOperator, now)
}

// of is the tally of an operator. Call it with mu held.
func (q *quota) of(operator string, now time.Time) *tally {
	if t := q.tallies[operator]; t != nil {
		return t
	}
	if len(q.tallies) >= maxTallies {
		for name, t := range q.tallies { // those that are as good as new
			if t.earn(now); t.second != now.Unix() && t.missed == 0 && t.vain == 0 {
				delete(q.tallies, name)
			}
		}
	}
	if len(q.tallies) >= maxTallies {
		return &q.others
	}
	if q.tallies == nil {
		q.tallies = map[string]*tally{}
	}
	t := &tally{}
	q.tallies[operator] = t
	return t
}

func (t *tally) take(most int, now time.Time) (missed int, ok bool) {
	if s := now.Unix(); s != t.second {
		t.second, t.n = s, 0
	}
	if t.n++; t.n > most {
		t.missed++
		return 0, false
	}
	missed, t.missed = t.missed, 0
	return missed, true
}
