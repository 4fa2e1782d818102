package main

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// screen shows how far a demo has come: a table that changes in place, or nothing where nobody looks.
type screen struct {
	d    *demo
	done chan struct{}
	wait sync.WaitGroup
}

const (
	frameTime = 100 * time.Millisecond
	barWidth  = 30
)

func newScreen(d *demo) *screen {
	s := &screen{d: d, done: make(chan struct{})}
	if terminal(os.Stdout) {
		s.wait.Go(s.run)
	}
	return s
}

func (s *screen) run() {
	frames := time.NewTicker(frameTime)
	defer frames.Stop()
	for {
		s.draw()
		select {
		case <-frames.C:
			fmt.Printf("\x1b[%dA", len(s.d.agents)) // back to the first row
		case <-s.done:
			fmt.Printf("\x1b[%dA", len(s.d.agents))
			s.draw()
			fmt.Println()
			return
		}
	}
}

func (s *screen) draw() {
	total := s.d.rounds * len(demoCommands)
	for _, a := range s.d.agents {
		a.mu.Lock()
		done, cuts := len(a.times), a.cuts
		a.mu.Unlock()
		bar := strings.Repeat("█", done*barWidth/total)
		state := ""
		if cuts > 0 {
			state = "cut and resumed"
		}
		fmt.Printf("\x1b[2K%-9s %-*s %4d/%d  %s\n", a.transport, barWidth, bar, done, total, state)
	}
}

func (s *screen) stop() {
	close(s.done)
	s.wait.Wait()
}
