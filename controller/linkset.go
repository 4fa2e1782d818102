package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
)

// linkSet is the open links, and lets one wait until there are none. Unlike a sync.WaitGroup it may
// fill again while somebody waits, and the wait has a context.
type linkSet struct {
	mu    sync.Mutex
	links map[*link]struct{}
	empty chan struct{} // closed while there are none
}

func newLinkSet() *linkSet {
	s := &linkSet{links: map[*link]struct{}{}, empty: make(chan struct{})}
	close(s.empty)
	return s
}

func (s *linkSet) add(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.links) == 0 {
		s.empty = make(chan struct{})
	}
	s.links[l] = struct{}{}
}

func (s *linkSet) remove(l *link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.links, l)
	if len(s.links) == 0 {
		close(s.empty)
	}
}

func (s *linkSet) len() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.links)
}

func (s *linkSet) all() []*link {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Keys(s.links))
}

// wait returns when there is no link, or with the cause of ctx's end.
func (s *linkSet) wait(ctx context.Context) error {
	s.mu.Lock()
	empty := s.empty
	s.mu.Unlock()
	select {
	case <-empty:
		return nil
	default:
	}
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
