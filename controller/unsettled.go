package controller

import (
	"cmp"
	"context"
	"slices"
	"strconv"
	"strings"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Unsettled returns a page of the commands of all VMs that are not settled: by the names of VMs, and those of one VM by Seq.
func (c *Controller) Unsettled(ctx context.Context, q Query) (Page[ledger.Entry], error) {
	q, err := q.checked()
	if s := ack.Stage(q.State); err == nil && s != "" && (!s.Known() || s.Final()) {
		err = transport.Errorf(transport.CodeInvalid, "state is %.40q, of an unsettled command it is queued, delivered, received, started, progress or deferred", q.State)
	}
	at, parsed := parsePlace(q.After)
	if err == nil && !parsed {
		err = transport.Errorf(transport.CodeInvalid, "after is %.40q, and no place that a page of this list has ended at", q.After)
	}
	if err != nil {
		return Page[ledger.Entry]{}, err
	}
	l := unsettled{c: c, q: q, at: at}
	err = l.collect(ctx)
	return l.page, err
}

// place is that of a command among all: what follows are the later ones of its VM, and those of VMs of greater names.
type place struct {
	vm  string
	seq uint64
}

// PlaceOf is the Query.After for what comes after e in a list of commands.
func PlaceOf(e *ledger.Entry) string { return place{e.VM, e.Seq}.String() }

// String begins with the number, since a name may hold anything.
func (p place) String() string { return strconv.FormatUint(p.seq, 10) + "@" + p.vm }

func parsePlace(s string) (place, bool) {
	if s == "" {
		return place{}, true
	}
	number, vm, _ := strings.Cut(s, "@")
	seq, err := strconv.ParseUint(number, 10, 64)
	return place{vm, seq}, err == nil && vm != ""
}

// unsettled is a page in the making.
type unsettled struct {
	c      *Controller
	q      Query
	at     place // of what was looked at last
	looked int
	page   Page[ledger.Entry]
}

func (l *unsettled) collect(ctx context.Context) error {
	after := l.at.vm
	if after != "" {
		if done, err := l.of(ctx, after, l.at.seq); done || err != nil {
			return err
		}
	}
	for {
		most := MaxPage
		if l.q.Match == "" && l.q.State == "" { // each has a command for the page, and one more tells whether anything follows
			most = l.q.Limit - len(l.page.Items) + 1
		}
		vms, err := l.c.ledger.VMs(ctx, ledger.VMQuery{After: after, Limit: most, Unsettled: true})
		if err != nil {
			return getError(err)
		}
		for _, vm := range vms {
			after = vm.Name
			if done, err := l.of(ctx, after, 0); done || err != nil {
				return err
			}
		}
		if len(vms) < most {
			return nil
		}
	}
}

// of adds the commands of a VM that come after a number. It returns whether the page is done.
func (l *unsettled) of(ctx context.Context, vm string, seq uint64) (done bool, err error) {
	if !l.q.matches(vm) {
		l.looked++
		l.at = place{vm: vm}
		return l.full(), nil
	}
	for {
		// One more than there is room for tells whether anything follows.
		entries, err := l.c.pending(ctx, vm, seq, l.q.Limit+1)
		if err != nil {
			return false, getError(err)
		}
		for _, e := range entries {
			if l.full() {
				return true, nil
			}
			l.looked++
			seq = e.Seq
			l.at = place{vm, seq}
			if l.q.State == "" || l.q.State == string(e.State.Stage) {
				l.page.Items = append(l.page.Items, e.Copy())
			}
		}
		if len(entries) <= l.q.Limit {
			return false, nil
		}
	}
}

// full says whether nothing more is to be looked at; the page then says where to go on.
func (l *unsettled) full() bool {
	if len(l.page.Items) < l.q.Limit && l.looked < maxScan {
		return false
	}
	l.page.Next = l.at.String()
	return true
}

// pending returns up to limit unsettled entries of a VM, of both lanes, by Seq; a limit of 0 is no limit.
func (c *Controller) pending(ctx context.Context, vm string, after uint64, limit int) ([]*ledger.Entry, error) {
	normal, err := c.ledger.Pending(ctx, vm, ledger.Normal, after, limit)
	if err != nil {
		return nil, err
	}
	urgent, err := c.ledger.Pending(ctx, vm, ledger.Urgent, after, limit)
	if err != nil {
		return nil, err
	}
	all := append(normal, urgent...)
	slices.SortFunc(all, func(a, b *ledger.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	if limit > 0 {
		all = all[:min(limit, len(all))]
	}
	return all, nil
}
