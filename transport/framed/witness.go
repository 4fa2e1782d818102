package framed

import (
	"time"

	"github.com/miglink/miglink/transport"
)

// askEvery is how often a peer is asked at most: it takes too many pings for babble.
const askEvery = 100 * time.Millisecond

// witness tells a link of the controller's what has arrived at the peer: frames come in order, so whoever answers a ping has
// got what was sent before it. Guarded by end.mu.
type witness struct {
	link   transport.Witness // nil: nobody wants to know
	handed uint64            // deliveries that were written, or wait for the pipe
	asked  uint64            // the ping that is to tell; 0: none is under way
	before uint64            // deliveries before it
	wanted bool              // another is to follow the one that is under way
	at     time.Time         // of the latest
	later  *time.Timer       // to ask; nil until one was needed
}

// witnesses has the link ask when it wants to know.
func (s *Session) witnesses() {
	if w, ok := s.link.(transport.Witness); ok {
		s.seen.link = w
		w.Ask(s.ask)
	}
}

// ask sends a ping. While one is under way, or soon after one, it follows later.
func (s *Session) ask() {
	s.mu.Lock()
	defer s.mu.Unlock()
	w := &s.seen
	wait := askEvery - time.Since(w.at)
	switch {
	case s.err != nil || len(s.queue) >= maxQueued:
	case w.asked != 0:
		w.wanted = true
	case wait <= 0:
		w.at, w.before, w.asked = time.Now(), w.handed, s.pings+1 // the answer may come before ping returns
		s.ping()
	case w.later == nil:
		w.later = time.AfterFunc(wait, s.ask)
	default:
		w.later.Reset(wait)
	}
}

// answered is called after each pong.
func (s *Session) answered() {
	s.mu.Lock()
	w := &s.seen
	if w.asked == 0 || s.pongs < w.asked {
		s.mu.Unlock()
		return
	}
	link, n, again := w.link, w.before, w.wanted
	w.asked, w.wanted = 0, false
	s.mu.Unlock()
	link.Arrived(n)
	if again {
		s.ask()
	}
}

// stopAsking is the end of the link.
func (s *Session) stopAsking() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.seen.later != nil {
		s.seen.later.Stop()
	}
}
