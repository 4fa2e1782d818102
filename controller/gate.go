package controller

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// gate is the ledger until it is shut: what writes then has ended, and nothing writes any more, so
// that another controller may take the ledger over. Acks that are still on their way would otherwise
// get past the end of their links.
type gate struct {
	ledger.Ledger
	mu     sync.RWMutex // held for reading by each write
	over   bool
	failed atomic.Pointer[failure] // nil: the last write has not
}

func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.over = true
}

func (g *gate) Append(ctx context.Context, vm string, cmd command.Command, limits ledger.Limits, now time.Time) (ledger.Appended, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.over {
		return ledger.Appended{}, ledger.ErrClosed
	}
	a, err := g.Ledger.Append(ctx, vm, cmd, limits, now)
	return a, g.wrote(a.Created, err)
}

func (g *gate) Update(ctx context.Context, vm string, edits ...ledger.Edit) ([]ledger.Edited, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.over {
		return nil, ledger.ErrClosed
	}
	edited, err := g.Ledger.Update(ctx, vm, edits...)
	return edited, g.wrote(g.failed.Load() != nil && slices.ContainsFunc(edited, func(e ledger.Edited) bool { return e.Changed }), err)
}

func (g *gate) Note(vm string, edits ...ledger.Edit) []ledger.Edited {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.over {
		return make([]ledger.Edited, len(edits))
	}
	return g.Ledger.Note(vm, edits...)
}

func (g *gate) Prune(ctx context.Context, then time.Time, limit int) (int, error) {
	g.mu.RLock()
	defer g.mu.RUnlock()
	if g.over {
		return 0, ledger.ErrClosed
	}
	return g.Ledger.Prune(ctx, then, limit)
}
