package admin

import (
	"fmt"
	"sync"
	"time"

	"github.com/miglink/miglink/transport"
)

// shares bound what requests take of something at a time: all of them, and those of one operator, who must not be able
// to keep the others out.
type shares struct {
	what      string
	all, each int64 // at most; each is of one operator

	mu    sync.Mutex
	taken int64
	by    map[string]int64 // by operator; of those that have taken something
}

// newShares lets one operator take half of all, and at least least: the most that one request takes.
func newShares(what string, all, least int64) *shares {
	return &shares{what: what, all: max(all, least), each: max(all/2, least), by: map[string]int64{}}
}

// take takes n for a request of an operator, if there is as much. Whoever has taken it calls give, once.
func (s *shares) take(operator string, n int64) (give func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken+n > s.all || s.by[operator]+n > s.each {
		return nil, &transport.Error{
			Code: transport.CodeRateLimited, RetryAfter: time.Second,
			Message: fmt.Sprintf("too many %s at a time", s.what),
		}
	}
	s.taken += n
	s.by[operator] += n
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.taken -= n
		if s.by[operator] -= n; s.by[operator] == 0 {
			delete(s.by, operator)
		}
	}, nil
}
