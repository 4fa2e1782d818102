package outlet

import (
	"sync"
	"time"

	"github.com/miglink/miglink/internal/safely"
)

// stays is how long a hand waits for more, about.
const stays = 100 * time.Millisecond

// Crew is the hands of one link.
type Crew struct {
	mu      sync.Locker
	done    <-chan struct{}
	stop    func(error)
	running sync.WaitGroup
}

// Engage has a crew work until done is closed. Its users hold mu. Where its work panics it calls stop, which is to end
// the link, and mu is not held then.
func (c *Crew) Engage(mu sync.Locker, done <-chan struct{}, stop func(error)) {
	c.mu, c.done, c.stop = mu, done, stop
}

// Hand does one kind of a link's work, whenever there is some, in a goroutine that goes when there was
// none for a while: an idle link keeps no goroutine for it, and a busy one does not start one, and grow
// its stack, for each message.
type Hand struct {
	Do func() // all that there is

	some chan struct{} // there is work; holds one. nil: the hand has gone. Guarded by Crew.mu
}

// Work has the work done. mu is locked, and done not closed.
func (c *Crew) Work(h *Hand) {
	if h.some == nil {
		some := make(chan struct{}, 1)
		h.some = some
		c.running.Go(func() { c.lend(h, some) })
	}
	select {
	case h.some <- struct{}{}:
	default:
	}
}

// Wait returns, once done is closed, when all have gone.
func (c *Crew) Wait() { c.running.Wait() }

func (c *Crew) lend(h *Hand, some chan struct{}) {
	idle := false
	tick := time.NewTicker(stays)
	defer tick.Stop()
	for {
		select {
		case <-some:
			if err := safely.Do(func() error { h.Do(); return nil }); err != nil {
				c.stop(err)
			}
			idle = false
		case <-tick.C:
			if idle && c.letGo(h) {
				return
			}
			idle = true
		case <-c.done:
			return
		}
	}
}

// letGo says whether a hand may go: there is no work.
func (c *Crew) letGo(h *Hand) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(h.some) > 0 {
		return false
	}
	h.some = nil
	return true
}
