package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type settleCmd struct {
	ID     string `arg:"" help:"ID of the command."`
	Stage  string `default:"dead" help:"As what it ends: succeeded, failed, rejected, expired, canceled, superseded, interrupted or dead." placeholder:"STAGE"`
	Reason string `help:"Why; it is kept with the command."`
	retry
	operator
}

func (c *settleCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var s admin.Status
	again := fmt.Sprintf("miglink status %s tells, and it may be settled again", c.ID)
	err = change(ctx, c.Retry, c.ID+" is settled", again, func(ctx context.Context) (err error) {
		s, err = client.Settle(ctx, c.ID, ack.Stage(c.Stage), c.Reason)
		return err
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(s)
	}
	return say("%s %s to %s: %s", s.ID, s.Type, s.VM, s.Stage)
}

type forgetCmd struct {
	VM    string `arg:"" help:"VM that will not come back."`
	Force bool   `help:"Also one that has a link: it ends, and its agent stops, with exit status 12; one that is started again would be back in the fleet."`
	retry
	operator
}

func (c *forgetCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	var f admin.Forgotten
	asked := 0
	again := "miglink fleet tells, and it may be forgotten again"
	err = change(ctx, c.Retry, c.VM+" is forgotten", again, func(ctx context.Context) (err error) {
		asked++
		if f, err = client.Forget(ctx, c.VM, c.Force); asked > 1 && errors.Is(err, transport.ErrUnknownCommand) {
			f, err = admin.Forgotten{VM: c.VM}, nil // by the request whose answer was lost
		}
		return err
	})
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(f)
	}
	if asked > 1 { // the request whose answer was lost may have ended some
		return say("%s is forgotten", f.VM)
	}
	return say("%s is forgotten; commands that waited for it and have ended: %d", f.VM, f.Ended)
}
