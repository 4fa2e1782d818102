package simulation_test

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// world is one run.
type world struct {
	t        *testing.T
	plan     plan
	ledger   *memory.Ledger
	front    *front
	faults   *fault.Transport
	machines []*machine // one for each VM, and then clones
	sum      totals
	anew     []planned // the retries that have become commands of their own

	mu      sync.Mutex
	running int        // handlers
	idle    *sync.Cond // running is 0 again
	record
}

// front is the controller's address: behind it is whichever runs.
type front struct {
	mu sync.Mutex
	c  *controller.Controller
}

func (f *front) get() *controller.Controller {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.c
}

func (f *front) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	return f.get().Dial(ctx, h)
}

func newWorld(t *testing.T, p plan) *world {
	w := &world{t: t, plan: p, ledger: memory.New(), front: &front{}, record: newRecord()}
	w.idle = sync.NewCond(&w.mu)
	w.restart()
	w.faults = fault.New(&witness{w.front, p.answers}, p.faults)
	for vm := range p.vms {
		m := &machine{vm: vm, clock: &clocks{off: p.off[vm]}, road: newRoad(w.faults, w.heard)}
		if p.journal {
			m.journal = t.TempDir()
		}
		w.machines = append(w.machines, m)
		w.begin(m)
	}
	return w
}

// restart ends the controller, if there is one, and starts another on the same ledger.
func (w *world) restart() {
	w.front.mu.Lock()
	defer w.front.mu.Unlock()
	if w.front.c != nil {
		w.front.c.Close()
		w.sum.Restarts++
	}
	w.front.c = controller.New(w.ledger, controller.Options{MaxAttempts: 5, AckDeadline: 5 * time.Second, Window: 8})
}

func vmName(vm int) string { return fmt.Sprintf("vm-%d", vm) }

// of are the machines of a VM: more than one where it was cloned.
func (w *world) of(vm int) []*machine {
	return slices.DeleteFunc(slices.Clone(w.machines), func(m *machine) bool { return m.vm != vm })
}

func (w *world) cloned(vm int) bool { return len(w.of(vm)) > 1 }

func (w *world) planned(id string) planned {
	for _, c := range w.plan.commands {
		if c.id == id {
			return c
		}
	}
	return w.plan.retry(id)
}

// step is one thing to do at its time.
type step struct {
	at time.Duration
	do func()
}

// play does all that is planned, then heals what is broken, and waits for every outcome.
func (w *world) play() {
	var steps []step
	for _, c := range w.plan.commands {
		steps = append(steps, step{c.at, func() { w.send(c) }})
		if c.cancelAt > 0 {
			steps = append(steps, step{c.cancelAt, func() { w.cancel(c) }})
		}
	}
	steps = append(steps, w.retries()...)
	for _, h := range w.plan.events {
		steps = append(steps, step{h.at, func() { w.happen(h) }})
	}
	slices.SortStableFunc(steps, func(a, b step) int { return int(a.at - b.at) })
	start := time.Now()
	for _, s := range steps {
		time.Sleep(s.at - time.Since(start))
		s.do()
	}
	time.Sleep(length - time.Since(start))
	w.heal()
	w.settle()
	time.Sleep(2 * time.Minute)
	w.sendLast() // of two machines the one that answers goes on
	w.settle()
	time.Sleep(time.Minute)
	w.checkMachines()
	for _, m := range w.machines {
		w.halt(m)
	}
	w.front.get().Close()
	count := w.faults.Counts()
	w.sum.DialFails, w.sum.Cuts, w.sum.Losses, w.sum.Duplicates = count.DialFails, count.Cuts, count.Losses, count.Duplicates
}

// settle waits for every outcome.
func (w *world) settle() {
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	for _, c := range w.sent() {
		if _, err := w.front.get().Receipt(c.id).Wait(ctx); err != nil {
			e, _ := w.ledger.Get(context.Background(), c.id)
			w.t.Errorf("%s has no outcome an hour after the last fault: %v\n%+v", c.id, err, e)
			break
		}
	}
	w.rest() // a verdict may stand against a handler that still runs, until it has ended
}

// sendLast sends each VM one more command.
func (w *world) sendLast() {
	for vm := range w.plan.vms {
		c := planned{vm: vm, id: fmt.Sprintf("last-%d", vm), kind: confirmed, options: command.Options{ID: fmt.Sprintf("last-%d", vm)}}
		w.mu.Lock()
		w.plan.commands = append(w.plan.commands, c)
		w.mu.Unlock()
		w.send(c)
	}
}

// heal ends all that is broken.
func (w *world) heal() {
	w.faults.Heal()
	for _, m := range w.machines {
		full.Delete(m.journal)
		m.clock.wake()
		m.road.heal()
	}
}

func (w *world) send(c planned) {
	cmd, err := command.NewRaw(c.kind, nil, c.options)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.front.get().Send(w.t.Context(), vmName(c.vm), cmd); err != nil {
		w.t.Errorf("send %s: %v", c.id, err)
	}
}

func (w *world) cancel(c planned) {
	if _, err := w.front.get().Cancel(w.t.Context(), c.id, "changed our mind"); err != nil {
		w.t.Errorf("cancel %s: %v", c.id, err)
	}
}

// befallen is the machine that something befalls.
func (w *world) befallen(h happening) *machine {
	all := w.of(h.vm)
	return all[h.which%len(all)]
}

func (w *world) happen(h happening) {
	switch m := w.befallen(h); h.do {
	case cutLinks:
		w.faults.CutAll()
	case restartController:
		w.restart()
	case fillDisk:
		if w.lives(m) { // it starts anew, since it had some room left
			w.halt(m)
			full.Store(m.journal, true)
			w.begin(m)
		}
	case emptyDisk:
		full.Delete(m.journal)
	case stopAgent:
		if w.lives(m) {
			w.halt(m)
			w.begin(m)
		}
	case killAgent:
		if w.lives(m) {
			w.kill(m)
			w.begin(m)
		}
	case cloneMachine:
		w.clone(m)
	case loseUp:
		w.lose(m, up, h.lasts)
	case loseDown:
		w.lose(m, down, h.lasts)
	case jump:
		m.clock.jump(h.jump)
		w.sum.Jumps++
	case sleep:
		m.clock.sleep()
		m.road.sleep()
		time.AfterFunc(h.lasts, func() {
			m.clock.wake()
			m.road.wake()
		})
		w.sum.Sleeps++
	}
}

func (w *world) lose(m *machine, direction int, lasts time.Duration) {
	m.road.lose(direction, true)
	time.AfterFunc(lasts, func() { m.road.lose(direction, false) })
	w.sum.Swallows++
}
