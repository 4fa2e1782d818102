// Package peerlog writes the log lines that a peer can cause. A peer chooses how often such a line is written and part of
// what it says, so both are bounded: nobody who reaches a controller can fill its disk, or hide other lines among his own.
package peerlog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Limits of lines. SECURITY.md has them, and internal/hostile measures them.
const (
	MaxValue = 1 << 10 // bytes of one value
	MaxLine  = 2 << 10 // bytes of all values of a line
	MaxStack = 8 << 10 // bytes of the stack of a panic, besides

	maxVMs = 1024 // whose lines are counted one by one, of each kind
)

// Rates of the lines of one kind. A stranger has no part in those about VMs, since a VM is only named once it has been
// authenticated, and one VM has a small part.
var (
	ofStrangers = rate{20, time.Second}
	ofVMs       = rate{1000, time.Second / 10}
	ofOneVM     = rate{5, 30 * time.Second}
)

// rate is so many at once, and one more after each interval.
type rate struct {
	burst int
	every time.Duration
}

// Log writes lines to a slog.Logger, so many of each kind and about each VM; the message is the kind. It is safe for
// concurrent use.
type Log struct {
	to *slog.Logger

	mu    sync.Mutex
	kinds map[string]*kind
}

// kind is the lines of one message.
type kind struct {
	strangers, all limit
	vms            map[string]*limit
	left           int // lines that were left out since the last that was written
}

// New returns a Log that writes to a logger.
func New(to *slog.Logger) *Log { return &Log{to: to, kinds: map[string]*kind{}} }

// Write writes a line, unless there were too many like it: the next that is written says how many were left out, as
// not_logged. VM is whom the peer has been authenticated as, and empty where it has not: a name that a stranger claims is
// an attribute like others. Values are cut, and what is not printable in them is escaped; an error is its text.
func (l *Log) Write(ctx context.Context, level slog.Level, msg, vm string, attrs ...slog.Attr) {
	if !l.to.Enabled(ctx, level) {
		return
	}
	left, ok := l.take(msg, vm, time.Now())
	if !ok {
		return
	}
	room := MaxLine
	line := make([]slog.Attr, 0, len(attrs)+2)
	if vm != "" {
		line = append(line, cut(slog.String("vm_id", vm), &room))
	}
	for _, a := range attrs {
		line = append(line, cut(a, &room))
	}
	if left > 0 {
		line = append(line, slog.Int("not_logged", left))
	}
	l.to.LogAttrs(ctx, level, msg, line...)
}

// Ended writes why a link of a VM has ended: what was said to or by the peer as information, what was inferred for
// debugging, and a panic as an error.
func (l *Log) Ended(ctx context.Context, vm string, err error) {
	var said *transport.Error
	var panicked *safely.Panic
	switch {
	case errors.As(err, &panicked):
		l.Panicked(ctx, vm, panicked)
	case errors.As(err, &said):
		l.Write(ctx, slog.LevelInfo, "link ended", vm, slog.String("code", string(said.Code)), slog.String("error", said.Message))
	default:
		l.Write(ctx, slog.LevelDebug, "link ended", vm, slog.Any("error", err))
	}
}

// Panicked writes that serving a peer has panicked. It is a fault of ours, or of a hook of the embedder's. The value, which may
// hold secrets of what was served, and the stack are written at debug level.
func (l *Log) Panicked(ctx context.Context, vm string, p *safely.Panic) {
	const msg = "serving a peer has panicked"
	left, ok := l.take(msg, vm, time.Now())
	if !ok {
		return
	}
	who := slog.String("vm_id", printable.Cut(vm, MaxValue))
	l.to.LogAttrs(ctx, slog.LevelError, msg, who, slog.Int("not_logged", left))
	if l.to.Enabled(ctx, slog.LevelDebug) {
		l.to.LogAttrs(ctx, slog.LevelDebug, "value and stack of a panic", who,
			slog.String("panic", printable.Cut(p.Text(), MaxValue)), slog.String("stack", string(p.Stack[:min(len(p.Stack), MaxStack)])))
	}
}

// take reports whether another line may be written, and how many before it were not.
func (l *Log) take(msg, vm string, now time.Time) (left int, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := l.kinds[msg]
	if k == nil {
		k = &kind{}
		l.kinds[msg] = k
	}
	defer func() {
		if ok {
			k.left = 0
		} else {
			k.left++
		}
	}()
	if vm == "" {
		return k.left, k.strangers.take(ofStrangers, now)
	}
	// The VM's own limit comes first: beyond it nothing is taken from what all VMs share.
	mine := k.vms[vm]
	if mine == nil {
		if !k.all.take(ofVMs, now) {
			return 0, false
		}
		k.add(vm, now)
		return k.left, true
	}
	return k.left, mine.has(ofOneVM, now) && k.all.take(ofVMs, now) && mine.take(ofOneVM, now)
}

// add begins to count the lines about a VM, the first of which is written. Those about one VM more than are counted have
// the limit of all alone.
func (k *kind) add(vm string, now time.Time) {
	if len(k.vms) >= maxVMs {
		for name, old := range k.vms { // those that are as good as new
			if !now.Before(old.until) {
				delete(k.vms, name)
			}
		}
	}
	if len(k.vms) >= maxVMs {
		return
	}
	if k.vms == nil {
		k.vms = map[string]*limit{}
	}
	one := &limit{}
	one.take(ofOneVM, now)
	k.vms[vm] = one
}

// limit measures against a rate: it is when all that was taken will have been earned.
type limit struct{ until time.Time }

// has reports whether one more may be taken.
func (l *limit) has(r rate, now time.Time) bool {
	return l.until.Sub(now) <= time.Duration(r.burst-1)*r.every
}

// take takes one more, if it may be.
func (l *limit) take(r rate, now time.Time) bool {
	if !l.has(r, now) {
		return false
	}
	if l.until.Before(now) {
		l.until = now
	}
	l.until = l.until.Add(r.every)
	return true
}

// cut makes a value fit, within the room that is left in its line.
func cut(a slog.Attr, room *int) slog.Attr {
	var s string
	switch v := a.Value.Resolve(); v.Kind() {
	case slog.KindString:
		s = v.String()
	case slog.KindAny, slog.KindGroup: // errors, codes, lists
		s = fmt.Sprint(v.Any())
	default: // numbers, times: they are short
		return a
	}
	s = printable.Cut(s, max(min(MaxValue, *room), len("…")))
	*room -= len(s)
	return slog.String(a.Key, s)
}
