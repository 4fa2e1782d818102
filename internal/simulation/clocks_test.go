package simulation_test

import (
	"sync"
	"time"

	"github.com/miglink/miglink/internal/clock"
)

// clocks are those of a machine. Its wall clock is off from the ledger's; its monotonic clock stands while it sleeps.
type clocks struct {
	mu    sync.Mutex
	off   time.Duration
	slept time.Duration // in all
	since time.Time     // of being asleep; zero: it is awake
}

func (c *clocks) read() clock.Reading {
	c.mu.Lock()
	defer c.mu.Unlock()
	now, slept := time.Now(), c.slept
	if !c.since.IsZero() {
		slept += now.Sub(c.since)
	}
	return clock.Reading{Monotonic: now.Add(-slept), Wall: now.Add(c.off).UnixNano()}
}

// jump sets the wall clock.
func (c *clocks) jump(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.off += by
}

func (c *clocks) sleep() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.since.IsZero() {
		c.since = time.Now()
	}
}

func (c *clocks) wake() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.since.IsZero() {
		c.slept += time.Since(c.since)
		c.since = time.Time{}
	}
}

// copy is of a clone.
func (c *clocks) copy() *clocks {
	c.mu.Lock()
	defer c.mu.Unlock()
	return &clocks{off: c.off, slept: c.slept}
}
