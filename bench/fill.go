package bench

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// fillers is how many commands are on their way to a ledger at a time: as many as one commit takes.
const fillers = 1024

// fill gives a ledger a past: n commands, round the VMs, that have succeeded.
func fill(ctx context.Context, l ledger.Ledger, vms []string, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(fillers)
	for i := range n {
		g.Go(func() error { return settle(ctx, l, vms[i%len(vms)]) })
	}
	return g.Wait()
}

// settle puts a command into a ledger that has gone all its way.
func settle(ctx context.Context, l ledger.Ledger, vm string) error {
	cmd, err := newCommand()
	if err != nil {
		return err
	}
	if _, err := l.Append(ctx, vm, cmd, ledger.Limits{}, time.Now()); err != nil {
		return err
	}
	edited, err := l.Update(ctx, vm, ledger.Edit{ID: cmd.ID, Do: func(e *ledger.Entry) error {
		e.Delivered(1, time.Now())
		return e.Acked(ack.Ack{CommandID: cmd.ID, Stage: ack.Succeeded, Attempt: 1}, ledger.Speaker{}, time.Now())
	}})
	if err != nil {
		return err
	}
	return edited[0].Err
}

// meet has a controller know VMs that are not there any more.
func meet(ctx context.Context, c *controller.Controller, vms []string) error {
	for _, vm := range vms {
		l, err := c.Dial(ctx, transport.Hello{VM: vm, Instance: "gone"})
		if err != nil {
			return err
		}
		l.Close()
	}
	return nil
}

func vmNames(first, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = vmName(first + i)
	}
	return names
}
