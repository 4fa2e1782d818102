package bolt

import (
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/internal/index"
)

// unsettled are entries that are not settled, in the orders that they are asked for. It is not safe for
// concurrent use.
type unsettled struct {
	*index.Index
	nodes map[string]*index.Node // by command ID
}

func newUnsettled() *unsettled {
	return &unsettled{index.New(), map[string]*index.Node{}}
}

// clone is a set of the same entries.
func (u *unsettled) clone() *unsettled {
	c := newUnsettled()
	for _, n := range u.nodes {
		c.put(n.Entry())
	}
	return c
}

// put adds e or replaces its earlier state; a settled entry leaves.
func (u *unsettled) put(e *ledger.Entry) {
	id := e.Command.ID
	n := u.nodes[id]
	switch {
	case n != nil:
		u.Set(n, e)
		if e.State.Settled() {
			delete(u.nodes, id)
		}
	case !e.State.Settled():
		u.nodes[id] = u.Add(e)
	}
}

// get returns the entry of a command; nil: it is not here.
func (u *unsettled) get(id string) *ledger.Entry {
	if n := u.nodes[id]; n != nil {
		return n.Entry()
	}
	return nil
}
