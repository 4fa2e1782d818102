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

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/lowest"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/internal/index"
)

// Ledger implements ledger.Ledger. Make one with New.
type Ledger struct {
	epoch string

	mu      sync.Mutex
	closed  bool
	redact  ledger.Redact
	pending *index.Index
	vms     map[string]*history
	highest uint64                 // that any VM has used which is in vms no more
	waiting map[string]*index.Node // by ID; few, so that they are found fast
	past    map[string]*index.Node // those that are settled, by ID
	settled []*index.Node          // roughly in the order they settled
}

// history is every entry of a VM that has not been forgotten, by Seq.
type history struct {
	seq   uint64
	nodes []*index.Node
	keys  map[string]*index.Node // by idempotency key; nil while there are none
}

// New is an empty ledger.
func New() *Ledger {
	return &Ledger{
		epoch:   strings.ReplaceAll(uuid.NewString(), "-", "")[:16],
		pending: index.New(),
		vms:     map[string]*history{},
		waiting: map[string]*index.Node{},
		past:    map[string]*index.Node{},
	}
}

// Epoch implements ledger.Ledger.
func (l *Ledger) Epoch() string { return l.epoch }

// Redact implements ledger.Ledger.
func (l *Ledger) Redact(r ledger.Redact) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.redact = r
}

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
	var a appending
	if err := safely.Do(func() (err error) { // Redact is the user's
		a, err = l.plan(vm, cmd, limits, now)
		return err
	}); err != nil || !a.out.Created {
		return a.out, err
	}
	l.store(vm, a)
	return a.out, nil
}

// appending is what an Append does, before it does it.
type appending struct {
	out        ledger.Appended
	superseded []*index.Node // of out.Superseded
}

// plan changes nothing.
func (l *Ledger) plan(vm string, cmd command.Command, limits ledger.Limits, now time.Time) (a appending, err error) {
	h := l.vms[vm]
	if known := l.known(h, cmd); known != nil { // without an entry its key is free
		if a.out, err = known.Entry().Known(vm, cmd, limits, l.redact); err != nil || a.out.Entry != nil {
			return a, err
		}
	}
	a.superseded = l.pending.Supersedable(vm, cmd)
	commands, bytes := l.pending.Load(vm)
	for _, n := range a.superseded {
		if err := limits.Ends(n.Entry()); err != nil {
			return appending{}, err
		}
		commands--
		bytes -= len(n.Entry().Command.Parameters)
		a.out.Superseded = append(a.out.Superseded, n.Entry().Superseded(cmd, now, l.redact))
	}
	if err := limits.Check(commands, bytes, cmd); err != nil {
		return appending{}, err
	}
	last := l.highest // a new VM may be one that was here
	if h != nil {
		last = h.seq
	}
	e := limits.New(vm, last+1, cmd, now)
	if err := e.Readable(nil); err != nil {
		return appending{}, err
	}
	a.out.Entry, a.out.Created = e, true
	return a, nil
}

// store does what was planned.
func (l *Ledger) store(vm string, a appending) {
	for i, n := range a.superseded {
		l.put(n, a.out.Superseded[i])
	}
	h := l.vms[vm]
	if h == nil {
		h = &history{}
		l.vms[vm] = h
	}
	e := a.out.Entry
	h.seq = e.Seq
	n := l.pending.Add(e)
	h.nodes = append(h.nodes, n)
	l.waiting[e.Command.ID] = n
	if k := e.Command.IdempotencyKey; k != "" {
		if h.keys == nil {
			h.keys = map[string]*index.Node{}
		}
		h.keys[k] = n
	}
}

func (l *Ledger) known(h *history, cmd command.Command) *index.Node {
	if n := l.find(cmd.ID); n != nil {
		return n
	}
	if h == nil || cmd.IdempotencyKey == "" {
		return nil
	}
	return h.keys[cmd.IdempotencyKey]
}

func (l *Ledger) find(id string) *index.Node {
	if n := l.waiting[id]; n != nil {
		return n
	}
	return l.past[id]
}

// put stores a new state of an entry.
func (l *Ledger) put(n *index.Node, e *ledger.Entry) {
	if e.State.Settled() && !n.Entry().State.Settled() {
		delete(l.waiting, e.Command.ID)
		l.past[e.Command.ID] = n
		l.settled = append(l.settled, n)
	}
	l.pending.Set(n, e)
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
	return l.apply(vm, edits, false), nil
}

// apply makes edits; of unsettled entries only, where it is for a Note.
func (l *Ledger) apply(vm string, edits []ledger.Edit, note bool) []ledger.Edited {
	out := make([]ledger.Edited, len(edits))
	for i, edit := range edits {
		n := l.find(edit.ID)
		if n == nil || n.Entry().VM != vm {
			out[i].Err = ledger.ErrNotFound
			continue
		}
		if note && n.Entry().State.Settled() {
			out[i].Entry = n.Entry()
			continue
		}
		if out[i] = n.Entry().Apply(edit, l.redact); out[i].Changed {
			l.put(n, out[i].Entry)
		}
	}
	return out
}

// Note implements ledger.Ledger.
func (l *Ledger) Note(vm string, edits ...ledger.Edit) []ledger.Edited {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return make([]ledger.Edited, len(edits))
	}
	return l.apply(vm, edits, true)
}

// Pending implements ledger.Ledger.
func (l *Ledger) Pending(ctx context.Context, vm string, lane ledger.Lane, after uint64, limit int) ([]*ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	return l.pending.Pending(vm, lane, after, limit), nil
}

// Get implements ledger.Ledger.
func (l *Ledger) Get(ctx context.Context, id string) (*ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	if n := l.find(id); n != nil {
		return n.Entry(), nil
	}
	return nil, ledger.ErrNotFound
}

// List implements ledger.Ledger.
func (l *Ledger) List(ctx context.Context, vm string, before uint64, limit int) ([]*ledger.Entry, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	h := l.vms[vm]
	if h == nil {
		return nil, nil
	}
	end := len(h.nodes)
	if before > 0 {
		end, _ = slices.BinarySearchFunc(h.nodes, before, bySeq)
	}
	var out []*ledger.Entry
	for i := end - 1; i >= 0 && len(out) < limit; i-- {
		out = append(out, h.nodes[i].Entry())
	}
	return out, nil
}

// VMs implements ledger.Ledger.
func (l *Ledger) VMs(ctx context.Context, q ledger.VMQuery) ([]ledger.VM, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil, ledger.ErrClosed
	}
	names := lowest.After(q.After, q.Limit)
	if q.Unsettled {
		l.pending.VMs(names.Add)
	} else {
		for name := range l.vms {
			names.Add(name)
		}
	}
	return l.pending.Count(names.Sorted()), nil
}

// Due implements ledger.Ledger.
func (l *Ledger) Due(ctx context.Context, now time.Time, limit int) ([]*ledger.Entry, time.Time, error) {
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
		old := l.settled[0]
		if !old.Entry().UpdatedAt.Before(then) {
			break
		}
		l.settled[0] = nil
		l.settled = l.settled[1:]
		l.forget(old.Entry())
		old.Forget()
		n++
	}
	return n, nil
}

func (l *Ledger) forget(e *ledger.Entry) {
	delete(l.past, e.Command.ID)
	h := l.vms[e.VM]
	if i, ok := slices.BinarySearchFunc(h.nodes, e.Seq, bySeq); ok {
		h.nodes = slices.Delete(h.nodes, i, i+1)
	}
	if k := e.Command.IdempotencyKey; k != "" && h.keys[k] != nil && h.keys[k].Entry() == e { // else a later command has it
		delete(h.keys, k)
	}
	if len(h.nodes) == 0 {
		l.highest = max(l.highest, h.seq)
		delete(l.vms, e.VM)
	}
}

func bySeq(n *index.Node, seq uint64) int { return cmp.Compare(n.Entry().Seq, seq) }

// Close implements ledger.Ledger.
func (l *Ledger) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	return nil
}
