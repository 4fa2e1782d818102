package main

import (
	"context"
	"fmt"
	"os"

	"github.com/miglink/miglink/controller"
)

// listing are the flags of commands that list what may be much.
type listing struct {
	Match string `help:"Only VMs whose name matches: * is any characters but /, ** any at all." placeholder:"PATTERN"`
	Limit int    `help:"Show so many at most. Default: all." placeholder:"N"`
	After string `help:"Go on after this, which a list that was cut at its --limit has said." placeholder:"PLACE"`
}

// list gets as much of a list as is asked for, page by page. Where it is cut it says on standard error how to go on.
func list[T any](ctx context.Context, l listing, state string, get func(context.Context, controller.Query) (controller.Page[T], error)) ([]T, error) {
	if l.Limit < 0 {
		return nil, usage("--limit is negative")
	}
	all := []T{}
	for q := (controller.Query{After: l.After, Match: l.Match, State: state}); ; {
		q.Limit = controller.MaxPage
		if l.Limit > 0 {
			q.Limit = min(q.Limit, l.Limit-len(all))
		}
		page, err := get(ctx, q)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		q.After = page.Next
		switch {
		case page.Next == "":
			return all, nil
		case l.Limit > 0 && len(all) >= l.Limit:
			fmt.Fprintf(os.Stderr, "miglink: there is more: --after %q\n", page.Next)
			return all, nil
		}
	}
}
