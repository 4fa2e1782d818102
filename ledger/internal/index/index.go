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
	vms map[string]*queues
	due dueHeap
}

// Node is the place of one command. Whoever owns the index keeps it, by the command's ID.
type Node struct {
	entry *ledger.Entry
	at    time.Time // of the entry's DueAt the latest that was not zero; it orders the heap
	place int32     // in the heap, from 1; 0: it is not there
	waits bool      // is in a queue: the command is not settled
}

// queues are the entries of one VM.
type queues struct {
	lanes [2][]*Node // normal, urgent; by Seq
	bytes int        // of parameters
}

func lane(l ledger.Lane) int {
	if l == ledger.Urgent {
		return 1
	}
	return 0
}

// New is an empty index.
func New() *Index { return &Index{vms: map[string]*queues{}} }

// Entry is the latest that was set.
func (n *Node) Entry() *ledger.Entry { return n.entry }

// Forget lets go of the entry of a node that is not kept any more; a heap may still hold the node.
func (n *Node) Forget() { n.entry = nil }

// Add gives a command that is not settled its place.
func (x *Index) Add(e *ledger.Entry) *Node {
	n := &Node{entry: e, waits: true}
	q := x.vms[e.VM]
	if q == nil {
		q = &queues{}
		x.vms[e.VM] = q
	}
	q.bytes += len(e.Command.Parameters)
	l := &q.lanes[lane(e.Lane())]
	i, _ := slices.BinarySearchFunc(*l, e.Seq, bySeq)
	*l = slices.Insert(*l, i, n)
	x.time(n)
	return n
}

// Settled is a node of a command that is settled, which is in no index.
func Settled(e *ledger.Entry) *Node { return &Node{entry: e} }

// Set replaces the entry of a node. One that is settled leaves the index; its node may be kept.
func (x *Index) Set(n *Node, e *ledger.Entry) {
	before := n.entry
	n.entry = e
	switch {
	case !n.waits:
	case e.State.Settled():
		x.remove(n, len(before.Command.Parameters)) // of what is settled there may be less
	default:
		x.time(n)
	}
}

// Remove takes a node out of the index, if it is there; its owner lets go of it.
func (x *Index) Remove(n *Node) {
	if n.waits {
		x.remove(n, len(n.entry.Command.Parameters))
	}
}

// time puts what falls due at some time where it belongs in the heap. What does so no more is dropped when that time comes.
func (x *Index) time(n *Node) {
	switch at := n.entry.DueAt(); {
	case at.IsZero():
	case n.place == 0:
		n.at = at
		heap.Push(&x.due, n)
	case !at.Equal(n.at):
		n.at = at
		heap.Fix(&x.due, int(n.place-1))
	}
}

func (x *Index) remove(n *Node, bytes int) {
	e := n.entry
	q := x.vms[e.VM]
	q.bytes -= bytes
	l := &q.lanes[lane(e.Lane())]
	switch i, _ := slices.BinarySearchFunc(*l, e.Seq, bySeq); i {
	case 0: // as a rule; the others need not move up
		(*l)[0] = nil
		*l = (*l)[1:]
	default:
		*l = slices.Delete(*l, i, i+1)
	}
	if len(q.lanes[0]) == 0 && len(q.lanes[1]) == 0 {
		delete(x.vms, e.VM)
	}
	n.waits = false // the heap drops it when its time comes
}

func bySeq(n *Node, seq uint64) int { return cmp.Compare(n.entry.Seq, seq) }

// Load counts what waits for a VM.
func (x *Index) Load(vm string) (commands, bytes int) {
	q := x.vms[vm]
	if q == nil {
		return 0, 0
	}
	return len(q.lanes[0]) + len(q.lanes[1]), q.bytes
}

// VMs calls add with each VM that something waits for, in no order.
func (x *Index) VMs(add func(name string)) {
	for name := range x.vms {
		add(name)
	}
}

// Count returns what waits for each of some VMs.
func (x *Index) Count(names []string) []ledger.VM {
	out := make([]ledger.VM, len(names))
	for i, name := range names {
		commands, _ := x.Load(name)
		out[i] = ledger.VM{Name: name, Pending: commands}
	}
	return out
}

// Supersedable returns the nodes of what cmd makes pointless.
func (x *Index) Supersedable(vm string, cmd command.Command) []*Node {
	q := x.vms[vm]
	if q == nil || cmd.SupersedeKey == "" {
		return nil
	}
	var out []*Node
	for _, l := range q.lanes {
		for _, n := range l {
			if n.entry.Supersedable(cmd) {
				out = append(out, n)
			}
		}
	}
	return out
}

// Pending returns up to limit entries of a lane with Seq greater than after; 0 is no limit.
func (x *Index) Pending(vm string, which ledger.Lane, after uint64, limit int) []*ledger.Entry {
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
	out := make([]*ledger.Entry, len(l))
	for i, n := range l {
		out[i] = n.entry
	}
	return out
}

// Due returns up to limit entries whose DueAt is not after now, and when the next one is after those.
func (x *Index) Due(now time.Time, limit int) (due []*ledger.Entry, next time.Time) {
	var back []*Node
	for len(x.due) > 0 {
		n := x.due[0]
		if !n.waits || n.entry.DueAt().IsZero() {
			heap.Pop(&x.due) // Set adds it again should it be deferred
			continue
		}
		if now.Before(n.at) || len(due) == limit {
			next = n.at
			break
		}
		heap.Pop(&x.due)
		back = append(back, n)
		due = append(due, n.entry)
	}
	for _, n := range back {
		heap.Push(&x.due, n)
	}
	return due, next
}

// dueHeap is a heap of nodes by the time that they fall due.
type dueHeap []*Node

func (h dueHeap) Len() int           { return len(h) }
func (h dueHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }
func (h dueHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = int32(i+1), int32(j+1)
}

func (h *dueHeap) Push(v any) {
	n := v.(*Node)
	*h = append(*h, n)
	n.place = int32(len(*h))
}

func (h *dueHeap) Pop() any {
	old := *h
	n := old[len(old)-1]
	n.place = 0
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return n
}
