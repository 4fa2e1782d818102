package main

import (
	"os"
	"time"

	"github.com/jedib0t/go-pretty/v6/progress"
)

// bar is a progress bar, where somebody looks.
type bar struct {
	writer  progress.Writer // nil: nobody does
	tracker *progress.Tracker
}

func newBar(what string, total int) *bar {
	if !terminal(os.Stderr) {
		return &bar{}
	}
	b := &bar{writer: progress.NewWriter(), tracker: &progress.Tracker{Message: what, Total: int64(total)}}
	b.writer.SetOutputWriter(os.Stderr)
	b.writer.SetUpdateFrequency(100 * time.Millisecond)
	b.writer.SetAutoStop(false)
	b.writer.AppendTracker(b.tracker)
	go b.writer.Render()
	return b
}

func (b *bar) done() {
	if b.writer != nil {
		b.tracker.Increment(1)
	}
}

func (b *bar) stop() {
	if b.writer != nil {
		b.writer.Stop()
		b.writer = nil
	}
}
