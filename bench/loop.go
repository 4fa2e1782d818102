package bench

import (
	"context"
	"time"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
)

// loop is a controller with its agents, ready to be measured: ours over one transport, or a bare one.
type loop struct {
	roundTrip func(ctx context.Context) error // one command to the first VM, and its final ack
	flood     flood                           // nil: not for this one
	offer     offer                           // likewise
	storm     time.Duration                   // of a bare loop: until each VM had a command and acknowledged it
	send      send                            // nil: a bare loop
	at        place                           // of its agents
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

// openOurs opens a loop of ours, with n agents that have dialled.
func (o *Options) openOurs(ctx context.Context, of Contender, n int) (*loop, error) {
	l := &loop{}
	err := o.start(ctx, of, l)
	if err == nil {
		err = o.link(ctx, of, l, n)
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return l, nil
}

// start starts a controller of ours for a loop, or takes the one elsewhere.
func (o *Options) start(ctx context.Context, of Contender, l *loop) error {
	if of.Ledger == remote {
		return o.reach(l)
	}
	c, err := o.startController(ctx, of.Transport, of.Ledger, l)
	l.send = sendBy(c)
	return err
}

// startController starts one for a loop, with an empty ledger.
func (o *Options) startController(ctx context.Context, name, store string, l *loop) (*controller.Controller, error) {
	led, err := openLedger(store, &l.clean)
	if err != nil {
		return nil, err
	}
	return o.startOn(ctx, name, led, l)
}

// startOn starts one on a ledger.
func (o *Options) startOn(ctx context.Context, name string, led ledger.Ledger, l *loop) (c *controller.Controller, err error) {
	c = newController(led)
	l.clean.add(func() { c.Close() })
	if l.at, err = o.place(name, &l.clean); err != nil {
		return nil, err
	}
	return c, serve(ctx, name, &l.at, anyPort, c, &l.clean)
}

// newController returns one that takes more than is under way.
func newController(l ledger.Ledger) *controller.Controller {
	return controller.New(l, controller.Options{Window: maxWindow, Limits: ledger.Limits{Commands: 2 * maxWindow}})
}

// link starts the first n agents of a loop, and returns once each has had a command.
func (o *Options) link(ctx context.Context, of Contender, l *loop, n int) (err error) {
	if l.agents, err = o.startAgents(of.Transport, l.at, n); err != nil {
		return err
	}
	if err := l.greet(ctx, l.agents, 0, n); err != nil {
		return err
	}
	vms := make([]string, n)
	for i := range vms {
		vms[i] = l.at.vm(i)
	}
	to := func(ctx context.Context, i int) error { return l.send.roundTrip(ctx, vms[i%n]) }
	l.roundTrip = func(ctx context.Context) error { return to(ctx, 0) }
	l.flood = func(ctx context.Context, window int, d time.Duration) (int, error) {
		if of.Ledger == "memory" {
			return floodVMs(ctx, l.send, vms, window, d)
		}
		return floodAll(ctx, n*window, d, to) // Send waits, for a disk or for an answer
	}
	l.offer = offerEach(to)
	return nil
}

// greet releases agents, and has each of their VMs have a command.
func (l *loop) greet(ctx context.Context, a *agents, first, n int) error {
	if err := a.release(); err != nil {
		return err
	}
	for i := range n {
		if err := l.send.roundTrip(ctx, l.at.vm(first+i)); err != nil {
			return err
		}
	}
	return nil
}
