package bench

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

// controllerTask is to be a controller with its ledger on disk, in a process that can be killed. On standard input
// it takes "send", from when on it sends at a rate, round the VMs, and "settle", from when on it sends no more, and
// says "settled" once nothing is pending. It says which commands were accepted, and which VMs have a link.
type controllerTask struct {
	Transport string `json:"transport"`
	At        place  `json:"at"`
	Listen    string `json:"listen"`
	Data      string `json:"data"` // folder of the ledger
	VMs       int    `json:"vms"`
	Rate      int    `json:"rate"`
}

// The words of the processes, each a line, with what it is about behind it.
const (
	wordSend     = "send"
	wordSettle   = "settle"
	wordAccepted = "accepted" // a command
	wordSettled  = "settled"
	wordLinked   = "linked" // a VM, and when
	wordRan      = "ran"    // a command
)

// say is one line of a child's.
func say(words ...any) { fmt.Println(words...) }

func (t *controllerTask) run() error {
	var clean cleanup
	defer clean.run()
	led, err := bolt.Open(t.Data, bolt.Options{})
	if err != nil {
		return err
	}
	clean.add(func() { led.Close() })
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := newController(led)
	clean.add(func() { c.Close() })
	if err := serve(ctx, t.Transport, &t.At, t.Listen, c, &clean); err != nil {
		return err
	}
	say("ready", t.At.URL)
	var load, rest errgroup.Group
	defer func() {
		stop()
		_ = errors.Join(load.Wait(), rest.Wait()) // it ends either way
	}()
	rest.Go(func() error { return t.watch(ctx, c) })
	sending, hush := context.WithCancel(ctx)
	defer hush()
	for in := bufio.NewScanner(os.Stdin); in.Scan(); {
		switch in.Text() {
		case wordSend:
			load.Go(func() error { return t.load(sending, c) })
		case wordSettle:
			hush()
			if err := load.Wait(); err != nil {
				return err
			}
			rest.Go(func() error { return settled(ctx, led) })
		}
	}
	return nil
}

// glance is how often a controller looks who is there.
const glance = 5 * time.Millisecond

// watch says of each VM when it has a link for the first time. The controller has to say it: an agent on long poll
// may not notice that there is another.
func (t *controllerTask) watch(ctx context.Context, c *controller.Controller) error {
	for away := vmNames(0, t.VMs); len(away) > 0 && ctx.Err() == nil; time.Sleep(glance) {
		away = slices.DeleteFunc(away, func(vm string) bool {
			p, _ := c.Presence(vm)
			if p.Attached {
				say(wordLinked, vm, time.Now().UnixNano())
			}
			return p.Attached
		})
	}
	return nil
}

// load sends until ctx ends, and says what was accepted: a caller has been told.
func (t *controllerTask) load(ctx context.Context, c *controller.Controller) error {
	var g errgroup.Group
	err := schedule(ctx, t.Rate, time.Hour, func(i int, _ time.Time) error {
		g.Go(func() error {
			cmd, err := newCommand()
			if err != nil {
				return err
			}
			r, err := c.Send(ctx, vmName(i%t.VMs), cmd)
			if err == nil {
				say(wordAccepted, r.ID())
			}
			return err
		})
		return nil
	})
	if err = errors.Join(err, g.Wait()); ctx.Err() != nil {
		return nil
	}
	return err
}

// settled returns once no command is pending.
func settled(ctx context.Context, l ledger.Ledger) error {
	for ; ; time.Sleep(10 * time.Millisecond) {
		vms, err := l.VMs(ctx, ledger.VMQuery{})
		if err != nil {
			return err
		}
		pending := 0
		for _, vm := range vms {
			pending += vm.Pending
		}
		if pending == 0 {
			say(wordSettled)
			return nil
		}
	}
}
