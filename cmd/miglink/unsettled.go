package main

import (
	"context"
	"os"
)

type unsettledCmd struct {
	State string `help:"Only commands of this stage, such as queued or started." placeholder:"STAGE"`
	listing
	operator
}

func (c *unsettledCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	all, err := list(ctx, c.listing, c.State, client.Unsettled)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(all)
	}
	t := newTable(os.Stdout, "all commands are settled", "vm", "id", "type", "stage", "attempt", "created", "updated", "reason")
	for _, s := range all {
		t.add(s.VM, s.ID, s.Type, s.Stage, s.Attempt, ago(s.CreatedAt), ago(s.UpdatedAt), short(why(s.Code, s.Reason), 40))
	}
	return t.Render()
}
