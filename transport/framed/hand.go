package framed

import "time"

// handTime is how long a hand waits for more, about.
const handTime = 100 * time.Millisecond

// hand does one kind of a link's work, whenever there is some, in a goroutine that goes when there was
// none for a while: an idle link keeps no goroutine for it, and a busy one does not start one, and grow
// its stack, for each frame.
type hand struct {
	do   func()        // all that there is
	some chan struct{} // there is work; holds one. nil: the hand has gone. Guarded by end.mu
}

// work has the work done. mu is locked.
func (s *Session) work(h *hand) {
	if s.err != nil {
		return
	}
	if h.some == nil {
		some := make(chan struct{}, 1)
		h.some = some
		s.running.Go(func() { s.lend(h, some) })
	}
	select {
	case h.some <- struct{}{}:
	default:
	}
}

func (s *Session) lend(h *hand, some chan struct{}) {
	idle := false
	tick := time.NewTicker(handTime)
	defer tick.Stop()
	for {
		select {
		case <-some:
			h.do()
			idle = false
		case <-tick.C:
			if idle && s.letGo(h) {
				return
			}
			idle = true
		case <-s.done:
			return
		}
	}
}

// letGo says whether a hand may go: there is no work.
func (s *Session) letGo(h *hand) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(h.some) > 0 {
		return false
	}
	h.some = nil
	return true
}
