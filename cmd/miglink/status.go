package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type statusCmd struct {
	What  string `arg:"" optional:"" help:"A command's ID, or a VM. Without it: the fleet."`
	Limit int    `default:"20" help:"Most commands of a VM to show."`
	operator
}

func (c *statusCmd) Run(ctx context.Context, parsed *kong.Context) error {
	if c.Limit < 1 {
		return usage("--limit is less than 1")
	}
	if c.What == "" && slices.Contains(given(parsed), "limit") {
		return usage("--limit is for the commands of a VM, and would be ignored: the fleet is listed whole")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.What == "" {
		return (&fleetCmd{operator: c.operator}).Run(ctx)
	}
	status, err := client.Get(ctx, c.What)
	if err == nil {
		return c.command(status)
	}
	if !errors.Is(err, transport.ErrUnknownCommand) {
		return err
	}
	list, err := client.List(ctx, c.What, 0, c.Limit)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return &exitError{exitNotFound, fmt.Errorf("there is no command and no VM with commands of the name %s", c.What)}
	}
	return c.list(list)
}

func (c *statusCmd) command(s admin.Status) error {
	if c.json() {
		return printJSON(s)
	}
	if err := say("%s  %s to %s  %s", s.ID, s.Type, s.VM, s.Stage); err != nil {
		return err
	}
	if s.Cancel != nil {
		if err := say("cancel asked for %s %s", ago(s.Cancel.At), s.Cancel.Reason); err != nil {
			return err
		}
	}
	if !s.RunEnds.IsZero() {
		if err := say("its run is to end by %s", s.RunEnds.Format(time.RFC3339)); err != nil {
			return err
		}
	}
	if len(s.Result) > 0 {
		if err := say("result %s", s.Result); err != nil {
			return err
		}
	}
	t := newTable(os.Stdout, "no stage is known", "stage", "attempt", "at", "reason")
	for _, step := range s.History {
		who := why(step.Code, step.Reason)
		if step.Verdict {
			who = "controller: " + who
		}
		t.add(step.Stage, step.Attempt, step.At.Format(time.RFC3339Nano), short(who, 60))
	}
	return t.Render()
}

// why is what is known of why a command has come to its stage, on one line.
func why(code ack.Code, reason string) string {
	if code == "" || reason == "" {
		return string(code) + reason
	}
	return string(code) + ": " + reason
}

func (c *statusCmd) list(list []admin.Status) error {
	if c.json() {
		return printJSON(list)
	}
	if err := say("%s, the latest commands: %d", list[0].VM, len(list)); err != nil {
		return err
	}
	t := newTable(os.Stdout, "no commands", "id", "type", "stage", "attempt", "created", "updated", "reason")
	for _, s := range list {
		t.add(s.ID, s.Type, s.Stage, s.Attempt, ago(s.CreatedAt), ago(s.UpdatedAt), short(why(s.Code, s.Reason), 40))
	}
	return t.Render()
}

type fleetCmd struct {
	State string `help:"Only VMs that are online, detached (no link is open, and it was heard of lately), or offline." placeholder:"STATE"`
	listing
	operator
}

func (c *fleetCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	fleet, err := list(ctx, c.listing, c.State, client.VMs)
	if err != nil {
		return err
	}
	if c.json() {
		return printJSON(fleet)
	}
	t := newTable(os.Stdout, "no VMs", "vm", "state", "transport", "since", "last seen", "pending", "instance")
	for _, p := range fleet {
		state := p.State()
		if skew := time.Duration(p.ClockSkew).Round(time.Second); skew > 0 {
			state += fmt.Sprintf(", clock %s ahead", skew)
		} else if skew < 0 {
			state += fmt.Sprintf(", clock %s behind", -skew)
		}
		if p.NoDisk {
			state += ", no disk for its journal"
		}
		if p.Abandoned > 0 {
			state += fmt.Sprintf(", abandoned runs: %d", p.Abandoned)
		}
		t.add(p.VM, state, p.Transport, ago(p.Since), ago(p.LastSeen), p.Pending, p.Instance)
	}
	return t.Render()
}

type cancelCmd struct {
	ID     string        `arg:"" help:"ID of the command."`
	Reason string        `help:"Why; the agent is told."`
	Wait   time.Duration `help:"Wait this long for what comes of it."`
	retry
	operator
}

func (c *cancelCmd) Run(ctx context.Context) error {
	if c.Wait < 0 {
		return usage("--wait is negative")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	var s admin.Status
	again := fmt.Sprintf("miglink status %s tells, and it may be asked for again", c.ID)
	err = change(ctx, c.Retry, "the cancel of "+c.ID+" is recorded", again, func(ctx context.Context) (err error) {
		s, err = client.Cancel(ctx, c.ID, c.Reason)
		return err
	})
	if err != nil {
		return err
	}
	var late error
	if c.Wait > 0 {
		s, late, err = wait(ctx, client, s, c.Wait)
	}
	return errors.Join(err, c.print(s), late, canceled(s))
}

func (c *cancelCmd) print(s admin.Status) (err error) {
	switch {
	case c.json():
		err = printJSON(s)
	case s.Settled && s.Stage != ack.Canceled:
		err = say("%s %s to %s: %s", s.ID, s.Type, s.VM, s.Stage)
	default:
		err = say("%s %s to %s: %s, cancel asked for", s.ID, s.Type, s.VM, s.Stage)
	}
	return err
}

// canceled is nil for what was canceled, and for what may still be.
func canceled(s admin.Status) error {
	if !s.Settled || s.Stage == ack.Canceled {
		return nil
	}
	return failed("%s has ended, and was not canceled: %s", s.ID, s.Stage)
}
