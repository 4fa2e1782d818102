package framed

import (
	"runtime"
	"sync"

	"github.com/miglink/miglink/transport"
)

// push has somebody look for what is due; now: the caller.
func (s *Session) push(now bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.more = true
	switch {
	case s.taking: // they look again
	case now && s.prompt && s.err == nil:
		s.sendDue()
	default:
		s.work(&s.sender)
	}
}

// sendSoon is what the sender does.
func (s *Session) sendSoon() {
	runtime.Gosched() // others may be about to send a command to this VM: one frame takes them all
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendDue()
}

// sendDue sends what is due until nothing is, unless somebody does already. mu is locked, but not while
// looking and writing.
func (s *Session) sendDue() {
	if s.taking {
		return
	}
	s.taking = true
	for s.more && s.err == nil {
		s.more = false
		s.mu.Unlock()
		if err := s.sendPage(); err != nil {
			s.stop(err)
		}
		s.mu.Lock()
	}
	s.taking = false
}

// pages are lent to who sends one.
var pages = sync.Pool{New: func() any { return new([]transport.Delivery) }}

// sendPage sends a page of what is due, if there is something.
func (s *Session) sendPage() error {
	lent := pages.Get().(*[]transport.Delivery)
	page, err := s.link.(transport.Pusher).Take((*lent)[:0])
	written := true
	if err == nil && len(page) > 0 {
		written, err = s.sendFrame(&Frame{Commands: page})
	}
	if written { // else it waits for who writes
		clear(page)
		*lent = page[:0]
		pages.Put(lent)
	}
	return err
}
