// Package index holds the unsettled entries of a ledger in memory, in the orders that they are asked
// for. It is not safe for concurrent use.
package index

import (
	"cmp"
	"container/heap"
	"slices"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// Index is a set of unsettled entries. The zero value is not usable; see New.
type Index struct {
	vms    map[string]*queues
	nodes  map[string]*node // by command ID
	keys   map[vmKey]*node
	expiry expiries
}

type vmKey struct{ vm, key string }

// node is the place of one entry; the entry itself is replaced, never changed.
type node struct {
	entry   *ledger.Entry // nil once it is removed
	expires time.Time     // never changes: it orders the heap
	timed   bool          // is in the heap
}

// queues are the entries of one VM.
type queues struct {
	lanes [2][]*node // normal, urgent; by Seq
	bytes int        // of parameters
}

func lane(l ledger.Lane) int {
	if l == ledger.Urgent {
		return 1
	}
	return 0
}

// New is an empty index.
func New() *Index {
	return &Index{vms: map[string]*queues{}, nodes: map[string]*node{}, keys: map[vmKey]*node{}}
}

// Clone is an index of the same entries.
func (x *Index) Clone() *Index {
	c := New()
	for _, n := range x.nodes {
		c.Put(*n.entry)
	}
	return c
}

// Put adds e or replaces its earlier state; a settled entry is removed.
func (x *Index) Put(e ledger.Entry) {
	id := e.Command.ID
	n := x.nodes[id]
	switch {
	case e.State.Settled():
		if n != nil {
			x.remove(n)
		}
		return
	case n != nil:
		n.entry = &e
	default:
		n = &node{entry: &e, expires: e.Command.ExpiresAt}
		x.add(n)
	}
	if !n.timed && !e.Command.ExpiresAt.IsZero() && !e.State.Stage.Running() {
		n.timed = true
		heap.Push(&x.expiry, n)
	}
}

func (x *Index) add(n *node) {
	e := n.entry
	x.nodes[e.Command.ID] = n
	if k := e.Command.IdempotencyKey; k != "" {
		x.keys[vmKey{e.VM, k}] = n
	}
	q := x.vms[e.VM]
	if q == nil {
		q = &queues{}
		x.vms[e.VM] = q
	}
	q.bytes += len(e.Command.Parameters)
	l := &q.lanes[lane(e.Lane())]
	i, _ := slices.BinarySearchFunc(*l, e.Seq, bySeq)
	*l = slices.Insert(*l, i, n)
}

func (x *Index) remove(n *node) {
	e := n.entry
	delete(x.nodes, e.Command.ID)
	if k := e.Command.IdempotencyKey; k != "" {
		delete(x.keys, vmKey{e.VM, k})
	}
	q := x.vms[e.VM]
	q.bytes -= len(e.Command.Parameters)
	l := &q.lanes[lane(e.Lane())]
	if i, ok := slices.BinarySearchFunc(*l, e.Seq, bySeq); ok {
		*l = slices.Delete(*l, i, i+1)
	}
	if len(q.lanes[0]) == 0 && len(q.lanes[1]) == 0 {
		delete(x.vms, e.VM)
	}
	n.entry = nil // the heap drops it when its time comes
}

func bySeq(n *node, seq uint64) int { return cmp.Compare(n.entry.Seq, seq) }

// Get returns the entry of a command.
func (x *Index) Get(id string) (ledger.Entry, bool) {
	if n := x.nodes[id]; n != nil {
		return *n.entry, true
	}
	return ledger.Entry{}, false
}

// ByKey returns the entry of an idempotency key.
func (x *Index) ByKey(vm, key string) (ledger.Entry, bool) {
	if n := x.keys[vmKey{vm, key}]; n != nil {
		return *n.entry, true
	}
	return ledger.Entry{}, false
}

// Load counts what waits for a VM.
func (x *Index) Load(vm string) (commands, bytes int) {
	q := x.vms[vm]
	if q == nil {
		return 0, 0
	}
	return len(q.lanes[0]) + len(q.lanes[1]), q.bytes
}

// Supersedable returns the entries that cmd makes pointless.
func (x *Index) Supersedable(vm string, cmd command.Command) []ledger.Entry {
	q := x.vms[vm]
	if q == nil || cmd.SupersedeKey == "" {
		return nil
	}
	var out []ledger.Entry
	for _, l := range q.lanes {
		for _, n := range l {
			if n.entry.Supersedable(cmd) {
				out = append(out, *n.entry)
			}
		}
	}
	return out
}

// Pending returns up to limit entries of a lane with Seq greater than after; 0 is no limit.
func (x *Index) Pending(vm string, which ledger.Lane, after uint64, limit int) []ledger.Entry {
	q := x.vms[vm]
	if q == nil {
		return nil
	}
	l := q.lanes[lane(which)]
	i, _ := slices.BinarySearchFunc(l, after+1, bySeq)
	l = l[i:]
	if limit > 0 && len(l) > limit {
		l = l[:limit]
	}
	if len(l) == 0 {
		return nil
	}
	out := make([]ledger.Entry, len(l))
	for i, n := range l {
		out[i] = *n.entry
	}
	return out
}

// Due returns up to limit entries that are to be expired at now, and when the next one is after those.
func (x *Index) Due(now time.Time, limit int) (due []ledger.Entry, next time.Time) {
	var back []*node
	for len(x.expiry) > 0 {
		n := x.expiry[0]
		if n.entry == nil || n.entry.State.Stage.Running() {
			n.timed = false // Put adds it again should it be deferred
			heap.Pop(&x.expiry)
			continue
		}
		if now.Before(n.expires) || len(due) == limit {
			next = n.expires
			break
		}
		heap.Pop(&x.expiry)
		back = append(back, n)
		due = append(due, *n.entry)
	}
	for _, n := range back {
		heap.Push(&x.expiry, n)
	}
	return due, next
}

// expiries is a heap of nodes by the time that their commands expire.
type expiries []*node

func (h expiries) Len() int           { return len(h) }
func (h expiries) Less(i, j int) bool { return h[i].expires.Before(h[j].expires) }
func (h expiries) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *expiries) Push(n any)        { *h = append(*h, n.(*node)) }
func (h *expiries) Pop() any {
	old := *h
	n := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return n
}
