// Package refusal logs who was not let in, sparingly: whoever knocks often enough must not fill a disk.
package refusal

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// most is how many lines there are within a second. The first after a second with more says how many were left out.
const most = 20

// Log is where refusals go. It is safe for concurrent use.
type Log struct {
	to *slog.Logger

	mu    sync.Mutex
	since time.Time
	lines int
	left  int // out
}

// New returns a Log that writes warnings to a logger.
func New(to *slog.Logger) *Log { return &Log{to: to} }

// Add logs one refusal.
func (l *Log) Add(ctx context.Context, attrs ...slog.Attr) {
	l.mu.Lock()
	now := time.Now()
	if now.Sub(l.since) >= time.Second {
		if l.left > 0 {
			attrs = append(attrs, slog.Int("not_logged", l.left))
		}
		l.since, l.lines, l.left = now, 0, 0
	}
	l.lines++
	full := l.lines > most
	if full {
		l.left++
	}
	l.mu.Unlock()
	if !full {
		l.to.LogAttrs(ctx, slog.LevelWarn, "refused", attrs...)
	}
}
