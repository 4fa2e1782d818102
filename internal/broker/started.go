package broker

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// What an agent does when it hears that a controller has started: the one that it is linked to may have died. It asks, and
// leaves where that one is gone, or does not answer. Whoever can say so on the broker can have agents ask, and no more:
// not often, and a link whose controller lives stays.
const (
	// askSpread is the time over which the agents of a fleet ask, each at a random moment, and so come to the new
	// controller.
	askSpread = time.Second
	// askEvery is how often an agent asks at most. What it hears in between it asks about later.
	askEvery = 10 * time.Second
	// askTime is how long the controller may take to answer.
	askTime = 2 * time.Second
)

// Started hears, for the link of an agent, and the next over the same connection, that controllers have started. Its zero
// value has no link yet. It is safe for concurrent use.
type Started struct {
	mu      sync.Mutex
	link    framed.Prober // nil: there is none yet, or it cannot be asked
	waiting bool          // it will be asked
	asked   time.Time     // when it was, or will be
}

// Linked gives it its link.
func (s *Started) Linked(l transport.Link) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.link, _ = l.(framed.Prober)
	s.asked = time.Time{} // the one before
}

// Heard is called when a controller has said that it has started. It does not block.
func (s *Started) Heard() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.waiting || s.link == nil {
		return
	}
	now := time.Now()
	at := now
	if next := s.asked.Add(askEvery); !s.asked.IsZero() && next.After(now) {
		at = next
	}
	at = at.Add(rand.N(askSpread))
	s.waiting, s.asked = true, at
	time.AfterFunc(at.Sub(now), s.ask)
}

func (s *Started) ask() {
	s.mu.Lock()
	s.waiting = false
	link := s.link
	s.mu.Unlock()
	link.Probe(askTime)
}
