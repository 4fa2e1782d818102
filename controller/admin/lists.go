package admin

import (
	"context"
	"net/http"
	"strconv"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// queries are the parameters of query.
const queries = "after limit match state"

// query reads what page of a list a request asks for.
func query(r *http.Request) (controller.Query, error) {
	v := r.URL.Query()
	q := controller.Query{After: v.Get("after"), Match: v.Get("match"), State: v.Get("state"), Limit: controller.DefaultPage}
	if s := v.Get("limit"); s != "" {
		var err error
		if q.Limit, err = strconv.Atoi(s); err != nil || q.Limit < 1 || q.Limit > controller.MaxPage {
			return q, transport.Errorf(transport.CodeInvalid, "limit is not a number from 1 to %d", controller.MaxPage)
		}
	}
	return q, nil
}

func listVMs(d *desk, w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, "vms", d.VMs)
}

func listUnsettled(d *desk, w http.ResponseWriter, r *http.Request) error {
	return answerPage(w, r, "commands", d.Unsettled)
}

// answerPage answers with a page, whose elements come under a name.
func answerPage(w http.ResponseWriter, r *http.Request, name string, get func(context.Context, controller.Query) (p *page, next string, done func(), err error)) error {
	q, err := query(r)
	if err != nil {
		return err
	}
	p, next, done, err := get(r.Context(), q)
	if err != nil {
		return err
	}
	defer done()
	if next != "" {
		after, err := wirejson.Marshal(next)
		if err != nil {
			return err
		}
		next = `"after":` + string(after)
	}
	p.write(w, name, next)
	return nil
}

// VMs is a page of the VMs that a grant lets the operator read, by name. Whoever has got a page calls done once it is
// written; next is where the list goes on, if it does.
func (d *desk) VMs(ctx context.Context, q controller.Query) (p *page, next string, done func(), err error) {
	return lookAtPage(ctx, d, q, filling[controller.Presence]{
		get:   d.h.c.VMs,
		place: func(p *controller.Presence) string { return p.VM },
		shown: func(p *controller.Presence) (any, bool) { return p, d.op.mayReadVM(p.VM) },
	})
}

// Unsettled is a page of the unsettled commands of all VMs that a grant lets the operator read, as VMs is of those.
func (d *desk) Unsettled(ctx context.Context, q controller.Query) (p *page, next string, done func(), err error) {
	return lookAtPage(ctx, d, q, filling[ledger.Entry]{
		get:   d.h.c.Unsettled,
		place: controller.PlaceOf,
		shown: func(e *ledger.Entry) (any, bool) { return StatusOf(*e), d.op.may(VerbRead, e.VM, e.Command.Type) },
	})
}

// lookAtPage makes a page if the operator may read anything, and has it on record.
func lookAtPage[T any](ctx context.Context, d *desk, q controller.Query, f filling[T]) (p *page, next string, done func(), err error) {
	if !d.op.mayRead() {
		return nil, "", nil, d.look(ctx, Record{}, needs(Grant{Verb: VerbRead}))
	}
	p = &page{}
	if done, err = d.h.pages.take(d.op.Name, 1); err == nil {
		if next, err = f.fill(ctx, p, q, d.op.mayAllOfAll(VerbRead)); err != nil {
			done()
		}
	}
	return p, next, done, d.look(ctx, Record{}, err)
}

// filling is how a page comes to its elements.
type filling[T any] struct {
	get   func(context.Context, controller.Query) (controller.Page[T], error)
	place func(*T) string      // the After of what follows an element
	shown func(*T) (any, bool) // as it is shown; false: the operator may not see it
}

// fill fills a page with what the operator may see, and returns where the list goes on. Of an operator who may see little it
// looks at maxScan elements and no more.
func (f filling[T]) fill(ctx context.Context, p *page, q controller.Query, seesAll bool) (next string, err error) {
	limit := q.Limit
	if !seesAll {
		q.Limit = controller.MaxPage
	}
	for looked := 0; ; {
		got, err := f.get(ctx, q)
		if err != nil {
			return "", err
		}
		for i := range got.Items {
			if p.n == limit || looked == maxScan {
				return q.After, nil
			}
			looked++
			if v, may := f.shown(&got.Items[i]); may {
				if added, err := p.add(v); err != nil || !added {
					return q.After, err
				}
			}
			q.After = f.place(&got.Items[i])
		}
		if seesAll || got.Next == "" || len(got.Items) < q.Limit {
			return got.Next, nil
		}
		q.After = got.Next
	}
}
