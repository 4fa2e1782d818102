package door

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// most is how many lines there are within a second. The first after a second with more says how many were left out.
const most = 20

// Refusals logs who was not let in, sparingly: whoever knocks often enough must not fill a disk. It is safe for
// concurrent use.
type Refusals struct {
	to *slog.Logger

	mu    sync.Mutex
	since time.Time
	lines int
	left  int // out
}

// NewRefusals writes warnings to a logger.
func NewRefusals(to *slog.Logger) *Refusals { return &Refusals{to: to} }

// Add logs one refusal.
func (l *Refusals) Add(ctx context.Context, attrs ...slog.Attr) {
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
