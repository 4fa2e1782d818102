package bolt

import (
	"slices"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/internal/index"
)

// recent are the entries that stand in the bucket of that name: those that are not settled, in the orders
// that they are asked for, and those that are and wait to be archived. It is not safe for concurrent use.
type recent struct {
	*index.Index
	nodes   map[string]*index.Node // by command ID
	settled []string               // IDs of those that are, in the order that they were
}

func newRecent() *recent {
	return &recent{Index: index.New(), nodes: map[string]*index.Node{}}
}

// clone is a set of the same entries.
func (r *recent) clone() *recent {
	c := newRecent()
	for _, n := range r.nodes {
		if e := n.Entry(); !e.State.Settled() {
			c.put(e)
		}
	}
	for _, id := range r.settled {
		if e := r.get(id); e != nil {
			c.put(e)
		}
	}
	return c
}

// put adds e or replaces its earlier state.
func (r *recent) put(e *ledger.Entry) {
	id := e.Command.ID
	n := r.nodes[id]
	if e.State.Settled() && (n == nil || !n.Entry().State.Settled()) {
		r.settled = append(r.settled, id)
	}
	switch {
	case n != nil:
		r.Set(n, e)
	case e.State.Settled():
		r.nodes[id] = index.Settled(e)
	default:
		r.nodes[id] = r.Add(e)
	}
}

// get returns the entry of a command; nil: it is not here.
func (r *recent) get(id string) *ledger.Entry {
	if n := r.nodes[id]; n != nil {
		return n.Entry()
	}
	return nil
}

// latest is the present state of e's command, if it is here, and else e.
func (r *recent) latest(e *ledger.Entry) *ledger.Entry {
	if here := r.get(e.Command.ID); here != nil {
		return here
	}
	return e
}

// drop removes some of those that are settled.
func (r *recent) drop(ids []string) {
	if len(ids) == 0 {
		return
	}
	for _, id := range ids {
		r.nodes[id].Forget()
		delete(r.nodes, id)
	}
	r.settled = slices.DeleteFunc(r.settled, func(id string) bool { return r.nodes[id] == nil })
}

// of returns the entries of a VM.
func (r *recent) of(vm string) []*ledger.Entry {
	out := append(r.Pending(vm, ledger.Normal, 0, 0), r.Pending(vm, ledger.Urgent, 0, 0)...)
	for _, id := range r.settled {
		if e := r.get(id); e.VM == vm {
			out = append(out, e)
		}
	}
	return out
}
