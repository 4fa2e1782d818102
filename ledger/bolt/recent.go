package bolt

import (
	"slices"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/internal/index"
)

// recent are the entries that are in the log and not in the archive: those that are not settled, in the
// orders that they are asked for, and those that are and wait to be archived. It is not safe for concurrent
// use.
type recent struct {
	*index.Index
	nodes   map[string]*index.Node // by command ID
	keys    map[string]string      // idempotency key, as in bucketKeys → command ID
	had     map[string]string      // command ID → that of the one here whose idempotency key it has taken over
	settled []*index.Node          // those that are, in the order that they were
}

func newRecent() *recent {
	return &recent{Index: index.New(), nodes: map[string]*index.Node{}, keys: map[string]string{}, had: map[string]string{}}
}

// clone is a set of the same entries.
func (r *recent) clone() *recent {
	c := newRecent()
	for _, n := range r.nodes {
		if e := n.Entry(); !e.State.Settled() {
			c.put(e)
		}
	}
	for _, n := range r.settled {
		c.put(n.Entry())
	}
	return c
}

// put adds e or replaces its earlier state.
func (r *recent) put(e *ledger.Entry) {
	n := r.nodes[e.Command.ID]
	was := n != nil && n.Entry().State.Settled()
	if n == nil {
		n = r.add(e)
	} else {
		r.Set(n, e)
	}
	if e.State.Settled() && !was {
		r.settled = append(r.settled, n)
	}
}

func (r *recent) add(e *ledger.Entry) (n *index.Node) {
	if e.State.Settled() {
		n = index.Settled(e)
	} else {
		n = r.Add(e)
	}
	id := e.Command.ID
	r.nodes[id] = n
	if k := e.Command.IdempotencyKey; k != "" {
		// Of several commands that have had it the latest has it, in whatever order they come here.
		has := r.byKey(e.VM, k)
		if has == nil || has.Seq < e.Seq {
			r.keys[string(idempotencyKey(e.VM, k))] = id
		}
		if has != nil && has.Seq < e.Seq {
			r.had[id] = has.Command.ID
		}
	}
	return n
}

// dropKey takes an entry's idempotency key from it, unless a later command has taken that over. The command of which it was
// before has it again, if restore says so.
func (r *recent) dropKey(e *ledger.Entry, restore bool) {
	key, id := string(idempotencyKey(e.VM, e.Command.IdempotencyKey)), e.Command.ID
	switch had := r.had[id]; {
	case e.Command.IdempotencyKey == "" || r.keys[key] != id:
	case restore && r.nodes[had] != nil:
		r.keys[key] = had
	default:
		delete(r.keys, key)
	}
	delete(r.had, id)
}

// restore takes back what put has done to the entry of a command: it is as before again, or, where that is nil, not here.
func (r *recent) restore(id string, before *ledger.Entry) {
	n := r.nodes[id]
	switch {
	case n == nil: // was taken back already
		return
	case before != nil && before.State.Settled() == n.Entry().State.Settled():
		r.Set(n, before)
		return
	}
	if e := n.Entry(); e.State.Settled() {
		for i := len(r.settled) - 1; i >= 0; i-- { // one of the latest
			if r.settled[i] == n {
				r.settled = slices.Delete(r.settled, i, i+1)
				break
			}
		}
	}
	r.dropKey(n.Entry(), true)
	r.Remove(n)
	delete(r.nodes, id)
	if before != nil {
		r.put(before)
	}
}

// byKey returns the entry of the command that has an idempotency key; nil: it is not here.
func (r *recent) byKey(vm, key string) *ledger.Entry {
	return r.get(r.keys[string(idempotencyKey(vm, key))])
}

// all are the entries, in no order.
func (r *recent) all() []*ledger.Entry {
	out := make([]*ledger.Entry, 0, len(r.nodes))
	for _, n := range r.nodes {
		out = append(out, n.Entry())
	}
	return out
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

// drop removes those of some settled entries that are still as they are there, and returns how many.
func (r *recent) drop(archived []*ledger.Entry) (n int) {
	for _, e := range archived {
		id := e.Command.ID
		here := r.nodes[id]
		if here == nil || here.Entry().Version != e.Version {
			continue
		}
		r.dropKey(e, false)
		here.Forget()
		delete(r.nodes, id)
		n++
	}
	if n > 0 {
		r.settled = slices.DeleteFunc(r.settled, func(n *index.Node) bool { return n.Entry() == nil })
	}
	return n
}

// settledEntries are those that are to be archived.
func (r *recent) settledEntries() []*ledger.Entry {
	out := make([]*ledger.Entry, 0, len(r.settled))
	for _, n := range r.settled {
		out = append(out, n.Entry())
	}
	return out
}

// settledVMs are the VMs with entries that wait to be archived.
func (r *recent) settledVMs() map[string]bool {
	vms := make(map[string]bool, len(r.settled))
	for _, n := range r.settled {
		vms[n.Entry().VM] = true
	}
	return vms
}

// of returns the entries of a VM.
func (r *recent) of(vm string) []*ledger.Entry {
	out := append(r.Pending(vm, ledger.Normal, 0, 0), r.Pending(vm, ledger.Urgent, 0, 0)...)
	for _, n := range r.settled {
		if e := n.Entry(); e.VM == vm {
			out = append(out, e)
		}
	}
	return out
}
