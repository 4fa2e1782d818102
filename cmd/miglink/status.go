package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type statusCmd struct {
	What  string `arg:"" optional:"" help:"A command's ID, or a VM. Without it: the fleet."`
	Limit int    `default:"20" help:"Most commands of a VM to show."`
	operator
}

func (c *statusCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.What == "" {
		return (&fleetCmd{c.operator}).Run(ctx)
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
		return failed("there is no command and no VM with commands of the name %s", c.What)
	}
	return c.list(list)
}

func (c *statusCmd) command(s admin.Status) error {
	if c.json() {
		return printJSON(s)
	}
	fmt.Printf("%s  %s to %s  %s\n", s.ID, s.Type, s.VM, s.Stage)
	if s.Cancel != nil {
		fmt.Printf("cancel asked for %s %s\n", ago(s.Cancel.At), s.Cancel.Reason)
	}
	if len(s.Result) > 0 {
		fmt.Printf("result %s\n", s.Result)
	}
	t := newTable(os.Stdout, "stage", "attempt", "at", "reason")
	for _, step := range s.History {
		who := step.Reason
		if step.Verdict {
			who = "controller: " + who
		}
		t.AppendRow([]any{step.Stage, step.Attempt, step.At.Format(time.RFC3339Nano), short(who, 60)})
	}
	t.Render()
	return nil
}

func (c *statusCmd) list(list []admin.Status) error {
	if c.json() {
		return printJSON(list)
	}
	fmt.Printf("%s, the latest %d commands\n", list[0].VM, len(list))
	t := newTable(os.Stdout, "id", "type", "stage", "attempt", "created", "updated", "reason")
	for _, s := range list {
		t.AppendRow([]any{s.ID, s.Type, s.Stage, s.Attempt, ago(s.CreatedAt), ago(s.UpdatedAt), short(s.Reason, 40)})
	}
	t.Render()
	return nil
}

type fleetCmd struct {
	operator
}

func (c *fleetCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	fleet, err := client.Fleet(ctx)
	if err != nil {
		return err
	}
	if c.json() {
		if fleet == nil {
			fleet = []controller.Presence{}
		}
		return printJSON(fleet)
	}
	t := newTable(os.Stdout, "vm", "state", "transport", "since", "last seen", "pending", "instance")
	for _, p := range fleet {
		state := "offline"
		if p.Online {
			state = "online"
		}
		t.AppendRow([]any{p.VM, state, p.Transport, ago(p.Since), ago(p.LastSeen), p.Pending, p.Instance})
	}
	t.Render()
	return nil
}

type cancelCmd struct {
	ID     string        `arg:"" help:"ID of the command."`
	Reason string        `help:"Why; the agent is told."`
	Wait   time.Duration `help:"Wait this long for what comes of it."`
	operator
}

func (c *cancelCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	s, err := client.Cancel(ctx, c.ID, c.Reason)
	if err != nil {
		return err
	}
	var late error
	if c.Wait > 0 {
		if s, late, err = wait(ctx, client, s, c.Wait); err != nil {
			return err
		}
	}
	if c.json() {
		err = printJSON(s)
	} else {
		_, err = fmt.Printf("%s %s to %s: %s, cancel asked for\n", s.ID, s.Type, s.VM, s.Stage)
	}
	return errors.Join(err, late)
}

type watchCmd struct {
	VM string `arg:"" optional:"" help:"Only this VM."`
	operator
}

func (c *watchCmd) Run(ctx context.Context) error {
	client, err := c.client()
	if err != nil {
		return err
	}
	for n, err := range client.Watch(ctx, c.VM) {
		if ctx.Err() != nil {
			return nil // how one ends a watch
		}
		if err != nil {
			return err
		}
		if err := c.print(n); err != nil {
			return err
		}
	}
	return nil
}

func (c *watchCmd) print(n admin.Notice) error {
	if c.json() {
		return printJSON(n)
	}
	at := n.At.Local().Format("15:04:05.000")
	var err error
	switch {
	case n.Command != nil:
		_, err = fmt.Printf("%s %s %s %s: %s %s\n", at, n.VM, n.Command.Type, n.Command.ID, n.Command.Stage, short(n.Command.Reason, 60))
	case n.Event != nil:
		_, err = fmt.Printf("%s %s event %s\n", at, n.VM, n.Event.Type)
	case n.Kind == controller.NoticeFenced:
		_, err = fmt.Printf("%s %s instance %s was fenced by %s\n", at, n.VM, n.Old, n.New)
	case n.Presence != nil:
		_, err = fmt.Printf("%s %s is %s, by %s\n", at, n.VM, n.Kind, n.Presence.Transport)
	default:
		_, err = fmt.Printf("%s %s\n", at, n.Kind)
	}
	return err
}
