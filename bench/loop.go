package bench

import (
	"context"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
)

// loop is a controller with its agents, ready to be measured: ours over one transport, or a bare one.
type loop struct {
	roundTrip func(ctx context.Context) error // one command to the first VM, and its final ack
	flood     flood                           // nil: not for this one
	offer     offer                           // likewise
	storm     time.Duration                   // of a bare loop: until each VM had a command and acknowledged it
	agents    *agents
	clean     cleanup
}

// flood sends to all VMs for a while, with so many commands under way to each, and returns how many of
// them were acknowledged.
type flood func(ctx context.Context, window int, d time.Duration) (int, error)

func (l *loop) close() {
	if l.agents != nil {
		l.agents.close()
	}
	l.clean.run()
}

// openOurs opens a loop of ours over a transport and a ledger, with n agents that have dialled.
func (o *Options) openOurs(ctx context.Context, name, store string, n int) (_ *loop, err error) {
	l := &loop{}
	defer func() {
		if err != nil {
			l.close()
		}
	}()
	c, at, err := o.startController(ctx, name, store, &l.clean)
	if err != nil {
		return nil, err
	}
	if l.agents, err = o.startAgents(name, at, n); err != nil {
		return nil, err
	}
	if err := l.agents.release(); err != nil {
		return nil, err
	}
	for i := range n {
		if err := roundTrip(ctx, c, i); err != nil {
			return nil, err
		}
	}
	l.roundTrip = func(ctx context.Context) error { return roundTrip(ctx, c, 0) }
	l.flood = func(ctx context.Context, window int, d time.Duration) (int, error) {
		return floodAll(ctx, n*window, d, func(ctx context.Context, i int) error { return roundTrip(ctx, c, i%n) })
	}
	l.offer = offerEach(func(ctx context.Context, i int) error { return roundTrip(ctx, c, i%n) })
	return l, nil
}

// startController starts one that takes more than is under way.
func (o *Options) startController(ctx context.Context, name, store string, clean *cleanup) (*controller.Controller, place, error) {
	led, err := openLedger(store, clean)
	if err != nil {
		return nil, place{}, err
	}
	c := controller.New(led, controller.Options{Window: maxWindow, Limits: ledger.Limits{Commands: 2 * maxWindow}})
	clean.add(func() { c.Close() })
	at, err := o.serve(ctx, name, c, clean)
	return c, at, err
}

// roundTrip sends one command and waits for its final ack.
func roundTrip(ctx context.Context, c *controller.Controller, vm int) error {
	r, err := send(ctx, c, vm)
	if err != nil {
		return err
	}
	_, err = r.Wait(ctx)
	return err
}

func send(ctx context.Context, c *controller.Controller, vm int) (*controller.Receipt, error) {
	cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
	if err != nil {
		return nil, err
	}
	return c.Send(ctx, vmName(vm), cmd)
}
