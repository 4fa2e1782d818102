// Package memory is a ledger that keeps everything in memory: for tests, and for controllers whose
// commands need not survive them.
package memory

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/internal/index"
)

// Ledger implements ledger.Ledger. Make one with New.
type Ledger struct {
	epoch string

	mu      sync.RWMutex
	closed  bool
	pending *index.Index
	vms     map[string]*history
	byID    map[string]*ledger.Entry // of every entry
	settled []string                 // IDs, roughly in the order they settled
}

// history is every entry of a VM that has not been forgotten, by Seq.
type history struct {
	seq     uint64
	entries []*ledger.Entry
	keys    map[string]*ledger.Entry // by idempotency key; nil while there are none
}

// New is an empty ledger.
func New() *Ledger {
	return &Ledger{
		epoch:   strings.ReplaceAll(uuid.NewString(), "-", "")[:16],
		pending: index.New(),
		vms:     map[string]*history{},
		byID:    map[string]*ledger.Entry{},
	}
}

// Epoch implements ledger.Ledger.
func (l *Ledger) Epoch() string { return l.epoch }

// Append implements ledger.Ledger.
func (l *Ledger) Append(ctx context.Context, vm string, cmd command.Command, limits ledger.Limits, now time.Time) (ledger.Appended, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Appended{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ledger.Appended{}, ledger.ErrClosed
	}
	h := l.vms[vm]
	if known := l.known(h, cmd); known != nil {
		return known.Known(vm, cmd)
	}
	old := l.pending.Supersedable(vm, cmd)
	commands, bytes := l.pending.Load(vm)
	for i := range old {
		commands--
		bytes -= len(old[i].Command.Parameters)
	}
	if err := limits.Check(commands, bytes, cmd); err != nil {
		return ledger.Appended{}, err
	}
	for i := range old {
		old[i].Conclude(ack.Superseded, "by "+cmd.ID, now)
		l.put(&old[i])
	}
	if h == nil {
		h = &history{}
		l.vms[vm] = h
	}
	h.seq++
	e := ledger.NewEntry(vm, h.seq, cmd, now)
	stored := e
	h.entries = append(h.entries, &stored)
	l.byID[cmd.ID] = &stored
	if cmd.IdempotencyKey != "" {
		if h.keys == nil {
			h.keys = map[string]*ledger.Entry{}
		}
		h.keys[cmd.IdempotencyKey] = &stored
	}
	l.pending.Put(e)
	return ledger.Appended{Entry: e, Created: true, Superseded: old}, nil
}

func (l *Ledger) known(h *history, cmd command.Command) *ledger.Entry {
	if e := l.byID[cmd.ID]; e != nil {
		return e
	}
	if h == nil || cmd.IdempotencyKey == "" {
		return nil
	}
	return h.keys[cmd.IdempotencyKey]
}

// put stores a new state of an entry.
func (l *Ledger) put(e *ledger.Entry) {
	stored := l.byID[e.Command.ID]
	if e.State.Settled() && !stored.State.Settled() {
		l.settled = append(l.settled, e.Command.ID)
	}
	*stored = *e
	l.pending.Put(*e)
}

// Update implements ledger.Ledger.
func (l *Ledger) Update(ctx context.Context, vm string, edits ...ledger.Edit) ([]ledger.Edited, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	out := make([]ledger.Edited, len(edits))
	for i, edit := range edits {
		e := l.byID[edit.ID]
		if e == nil || e.VM != vm {
			out[i].Err = ledger.ErrNotFound
			continue
		}
		if out[i] = e.Apply(edit); out[i].Changed {
			l.put(&out[i].Entry)
		}
	}
	return out, nil
}

// Note implements ledger.Ledger.
func (l *Ledger) Note(vm string, edits ...ledger.Edit) {
	_, _ = l.Update(context.Background(), vm, edits...) // closed: nothing to note
}

// Pending implements ledger.Ledger.
func (l *Ledger) Pending(ctx context.Context, vm string, lane ledger.Lane, after uint64, limit int) ([]ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	return l.pending.Pending(vm, lane, after, limit), nil
}

// Get implements ledger.Ledger.
func (l *Ledger) Get(ctx context.Context, id string) (ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return ledger.Entry{}, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ledger.Entry{}, ledger.ErrClosed
	}
	if e := l.byID[id]; e != nil {
		return *e, nil
	}
	return ledger.Entry{}, ledger.ErrNotFound
}

// List implements ledger.Ledger.
func (l *Ledger) List(ctx context.Context, vm string, before uint64, limit int) ([]ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	h := l.vms[vm]
	if h == nil {
		return nil, nil
	}
	end := len(h.entries)
	if before > 0 {
		end, _ = slices.BinarySearchFunc(h.entries, before, func(e *ledger.Entry, seq uint64) int { return cmp.Compare(e.Seq, seq) })
	}
	var out []ledger.Entry
	for i := end - 1; i >= 0 && len(out) < limit; i-- {
		out = append(out, *h.entries[i])
	}
	return out, nil
}

// VMs implements ledger.Ledger.
func (l *Ledger) VMs(ctx context.Context) ([]ledger.VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	var out []ledger.VM
	for name, h := range l.vms {
		if len(h.entries) > 0 {
			commands, _ := l.pending.Load(name)
			out = append(out, ledger.VM{Name: name, Pending: commands})
		}
	}
	slices.SortFunc(out, func(a, b ledger.VM) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

// Due implements ledger.Ledger.
func (l *Ledger) Due(ctx context.Context, now time.Time, limit int) ([]ledger.Entry, time.Time, error) {
	if err := ctx.Err(); err != nil {
		return nil, time.Time{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, time.Time{}, ledger.ErrClosed
	}
	due, next := l.pending.Due(now, limit)
	return due, next, nil
}

// Prune implements ledger.Ledger.
func (l *Ledger) Prune(ctx context.Context, then time.Time, limit int) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return 0, ledger.ErrClosed
	}
	n := 0
	for n < limit && len(l.settled) > 0 {
		e := l.byID[l.settled[0]]
		if !e.UpdatedAt.Before(then) {
			break
		}
		l.settled = l.settled[1:]
		l.forget(e)
		n++
	}
	return n, nil
}

func (l *Ledger) forget(e *ledger.Entry) {
	delete(l.byID, e.Command.ID)
	h := l.vms[e.VM]
	if i := slices.Index(h.entries, e); i >= 0 {
		h.entries = slices.Delete(h.entries, i, i+1)
	}
	if k := e.Command.IdempotencyKey; k != "" {
		delete(h.keys, k)
	}
}

// Close implements ledger.Ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
