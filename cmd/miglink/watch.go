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

type watchCmd struct {
	VM  string        `arg:"" optional:"" help:"Only this VM."`
	For time.Duration `help:"End after this time. Default: when it is interrupted." placeholder:"DURATION"`
	operator
}

func (c *watchCmd) Run(ctx context.Context) error {
	if c.VM != "" {
		if err := transport.ValidateVM(c.VM); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if c.For < 0 {
		return usage("--for is negative")
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	if c.For > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, c.For)
		defer cancel()
	}
	return c.follow(ctx, client)
}

// follow prints notices until ctx ends, also those of a controller that was away. It fails where there has never been one, or
// where it refuses.
func (c *watchCmd) follow(ctx context.Context, client *admin.Client) error {
	reached, gone := false, false
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		var err error
		var n admin.Notice
		for n, err = range client.Watch(ctx, c.VM) {
			if err != nil {
				break
			}
			reached, gone, pause = true, false, firstPause
			if err := c.print(n); err != nil {
				return err
			}
		}
		if ctx.Err() != nil {
			return nil // how one ends a watch
		}
		reached = reached || errors.Is(err, admin.ErrUnanswered)
		if !reached || !transient(err) {
			return err
		}
		if !gone {
			gone = true
			fmt.Fprintf(os.Stderr, "miglink: %s; connecting again, what happens until then is not shown\n", shownLines(err.Error()))
		}
		if !sleep(ctx, max(pause, transport.RetryAfter(err))) {
			return nil
		}
	}
}

func (c *watchCmd) print(n admin.Notice) error {
	if c.json() {
		return printJSON(n)
	}
	at := n.At.Local().Format("15:04:05.000")
	var err error
	switch {
	case n.Command != nil:
		err = say("%s %s %s %s: %s %s", at, n.VM, n.Command.Type, n.Command.ID, n.Command.Stage, short(n.Command.Reason, 60))
	case n.Event != nil:
		err = say("%s %s event %s", at, n.VM, n.Event.Type)
	case n.Kind == controller.NoticeFenced:
		err = say("%s %s instance %s was fenced by %s", at, n.VM, n.Old, n.New)
	case n.Presence != nil:
		err = say("%s %s is %s, by %s", at, n.VM, n.Kind, n.Presence.Transport)
	default:
		err = say("%s %s", at, n.Kind)
	}
	return err
}
