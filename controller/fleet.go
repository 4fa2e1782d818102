package controller

import (
	"context"

	"github.com/miglink/miglink/internal/lowest"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// VMs returns a page of the VMs that have been heard of or have commands in the ledger, by name. A VM that was forgotten is
// not among them until it comes back or is sent something.
func (c *Controller) VMs(ctx context.Context, q Query) (Page[Presence], error) {
	q, err := q.checked()
	if err == nil && q.State != "" && q.State != StateOnline && q.State != StateDetached && q.State != StateOffline {
		err = transport.Errorf(transport.CodeInvalid, "state is %.40q, of a VM it is %s, %s or %s", q.State, StateOnline, StateDetached, StateOffline)
	}
	if err != nil {
		return Page[Presence]{}, err
	}
	return c.vms(ctx, q)
}

// Fleet returns all VMs, as VMs does, however many there are.
func (c *Controller) Fleet(ctx context.Context) ([]Presence, error) {
	var fleet []Presence
	for q := (Query{Limit: maxScan}); ; {
		page, err := c.vms(ctx, q)
		if err != nil {
			return nil, err
		}
		fleet = append(fleet, page.Items...)
		if page.Next == "" {
			return fleet, nil
		}
		q.After = page.Next
	}
}

// vms is VMs for a query that is checked.
func (c *Controller) vms(ctx context.Context, q Query) (Page[Presence], error) {
	var page Page[Presence]
	for looked := 0; ; {
		// One more than there is room for tells whether anything follows.
		most := min(q.Limit-len(page.Items), maxScan-looked) + 1
		if q.Match != "" || q.State != "" {
			most = max(most, MaxPage)
		}
		rows, err := c.rows(ctx, q.After, most)
		if err != nil {
			return Page[Presence]{}, err
		}
		for i, row := range rows {
			if len(page.Items) == q.Limit || looked == maxScan {
				page.Next = q.After
				return page, nil
			}
			looked++
			q.After = row.Name
			if !q.matches(row.Name) {
				continue
			}
			p, listed, err := c.listed(ctx, rows[i])
			if err != nil {
				return Page[Presence]{}, err
			}
			if listed && (q.State == "" || p.State() == q.State) {
				page.Items = append(page.Items, p)
			}
		}
		if len(rows) < most {
			return page, nil
		}
	}
}

// rows are the VMs after one, up to a number: of those that have commands and those that have a mailbox.
func (c *Controller) rows(ctx context.Context, after string, most int) ([]ledger.VM, error) {
	stored, err := c.ledger.VMs(ctx, ledger.VMQuery{After: after, Limit: most})
	if err != nil {
		return nil, getError(err)
	}
	pending := make(map[string]int, len(stored))
	names := make([]string, len(stored))
	for i, vm := range stored {
		names[i], pending[vm.Name] = vm.Name, vm.Pending
	}
	names = lowest.Merge(names, c.boxesAfter(after, most), most)
	rows := make([]ledger.VM, len(names))
	for i, name := range names {
		rows[i] = ledger.VM{Name: name, Pending: pending[name]}
	}
	return rows, nil
}

func (c *Controller) boxesAfter(after string, most int) []string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := lowest.After(after, most)
	for name := range c.boxes {
		names.Add(name)
	}
	return names.Sorted()
}

// listed is the presence of a VM in a list; false: it was forgotten.
func (c *Controller) listed(ctx context.Context, vm ledger.VM) (p Presence, listed bool, err error) {
	p, heard := c.Presence(vm.Name)
	p.Pending = vm.Pending
	if heard || vm.Pending > 0 {
		return p, true, nil
	}
	newest, err := c.ledger.List(ctx, vm.Name, 0, 1)
	if err != nil {
		return p, false, getError(err)
	}
	return p, len(newest) > 0 && !newest[0].Forgotten, nil
}

// State is StateOnline, StateDetached or StateOffline. A VM that polls and does not hold its polls is detached between two.
func (p *Presence) State() string {
	switch {
	case p.Attached:
		return StateOnline
	case p.Online:
		return StateDetached
	}
	return StateOffline
}
