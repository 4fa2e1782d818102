package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// world is one run.
type world struct {
	t      *testing.T
	plan   plan
	ledger *memory.Ledger
	front  *front
	faults *fault.Transport
	agents []*process
	sum    totals

	mu      sync.Mutex
	running int        // handlers
	idle    *sync.Cond // running is 0 again

	begun map[string]int // how often each handler has begun
	done  map[string]int // and how often it ended without asking for another time
	order [][]string     // by VM: which began first
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

// process is an agent's, or its successor's.
type process struct {
	vm      int
	journal string // directory; empty: none
	life    *life
	stop    context.CancelFunc
	ended   chan struct{}
}

func newWorld(t *testing.T, p plan) *world {
	w := &world{t: t, plan: p, ledger: memory.New(), front: &front{}, begun: map[string]int{}, done: map[string]int{}}
	w.idle = sync.NewCond(&w.mu)
	w.order = make([][]string, p.vms)
	w.restart()
	w.faults = fault.New(w.front, p.faults)
	for vm := range p.vms {
		a := &process{vm: vm}
		if p.journal {
			a.journal = t.TempDir()
		}
		w.agents = append(w.agents, a)
		w.begin(a)
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
	w.front.c = controller.New(w.ledger, controller.Options{MaxAttempts: 10_000, AckDeadline: 5 * time.Second, Window: 8})
}

// wire is what a process reaches the controller by. One that was killed reaches nothing.
type wire struct {
	transport.Transport
	life   *life
	direct bool // links are transport.Direct
}

func (t wire) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	if t.life.over.Load() {
		return nil, errors.New("this process was killed")
	}
	l, err := t.Transport.Dial(ctx, h)
	if err == nil && t.direct {
		l = linktest.Direct(l)
	}
	return l, err
}

// begin starts an agent's process.
func (w *world) begin(p *process) {
	ctx, stop := context.WithCancel(context.Background())
	life, ended := &life{}, make(chan struct{})
	a, err := agent.New(wire{w.faults, life, w.plan.direct}, agent.Options{
		VM: vmName(p.vm), Journal: p.journal, Window: w.plan.window, BackoffMax: 5 * time.Second,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for kind, policy := range map[command.Type]agent.Policy{
		ordered:    {},
		confirmed:  {Confirm: true},
		concurrent: {Concurrent: true},
		repeatable: {AfterCrash: agent.RunAgain},
		completed:  {AfterCrash: agent.Completed},
	} {
		a.HandleRaw(kind, func(ctx context.Context, job *agent.Job) (any, error) {
			return nil, w.handle(ctx, p.vm, life, job)
		}, policy)
	}
	w.mu.Lock()
	p.life, p.ended, p.stop = life, ended, stop
	w.mu.Unlock()
	go func() {
		defer close(ended)
		err := a.Run(ctx)
		w.mu.Lock()
		lives := ctx.Err() == nil && !life.over.Load()
		life.over.Store(true)
		w.mu.Unlock()
		if !lives {
			return
		}
		if !errors.Is(err, transport.ErrSuperseded) {
			w.t.Errorf("agent of %s: %v", vmName(p.vm), err)
		}
		// A dial of the dead process was still on its way and came after its successor's. The
		// supervisor starts the agent again.
		time.Sleep(5 * time.Second)
		w.begin(p)
	}()
}

func vmName(vm int) string { return fmt.Sprintf("vm-%d", vm) }

// handle is every handler: it keeps the record that counts.
func (w *world) handle(ctx context.Context, vm int, life *life, job *agent.Job) error {
	c := w.planned(job.Command().ID)
	w.mu.Lock()
	w.running++
	defer w.leave()
	if life.over.Load() {
		w.mu.Unlock()
		return errors.New("this process was killed")
	}
	w.begun[c.id]++
	n := w.begun[c.id]
	if n == 1 {
		w.order[vm] = append(w.order[vm], c.id)
	}
	w.mu.Unlock()
	if n <= c.deferred {
		return agent.RetryLater(time.Second, "not yet")
	}
	select {
	case <-time.After(c.work):
	case <-ctx.Done():
		if !errors.Is(context.Cause(ctx), agent.ErrCanceled) {
			<-time.After(c.work) // stopping: it goes on for as long as it is let
		} else {
			w.ended(life, c.id)
			return ctx.Err()
		}
	}
	w.ended(life, c.id)
	if c.fails {
		return errors.New("it failed")
	}
	return nil
}

func (w *world) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running--; w.running == 0 {
		w.idle.Broadcast()
	}
}

func (w *world) ended(life *life, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !life.over.Load() {
		w.done[id]++
	}
}

func (w *world) planned(id string) planned {
	i := slices.IndexFunc(w.plan.commands, func(c planned) bool { return c.id == id })
	return w.plan.commands[i]
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
	w.faults.Heal()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Hour)
	defer cancel()
	for _, c := range w.plan.commands {
		if _, err := w.front.get().Receipt(c.id).Wait(ctx); err != nil {
			e, _ := w.ledger.Get(context.Background(), c.id)
			w.t.Errorf("%s has no outcome an hour after the last fault: %v\n%+v", c.id, err, e)
			break
		}
	}
	w.rest() // a verdict may stand against a handler that still runs, until it has ended
	time.Sleep(time.Minute)
	for _, a := range w.agents {
		w.halt(a)
	}
	w.front.get().Close()
	count := w.faults.Counts()
	w.sum.DialFails, w.sum.Cuts, w.sum.Losses, w.sum.Duplicates = count.DialFails, count.Cuts, count.Losses, count.Duplicates
}

// rest waits until no handler runs.
func (w *world) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.running > 0 {
		w.idle.Wait()
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

func (w *world) happen(h happening) {
	switch a := w.agents[h.vm]; h.do {
	case cutLinks:
		w.faults.CutAll()
	case restartController:
		w.restart()
	case stopAgent:
		if w.lives(a) {
			w.halt(a)
			w.begin(a)
		}
	case killAgent:
		synctest.Wait() // every goroutine has got as far as it can, and with it the journal
		if w.lives(a) {
			w.kill(a)
			w.begin(a)
		}
	}
}

// kill ends a process as kill -9 does: all that is left of it is a copy of its journal, as it was. The
// process itself lives on for a while as a ghost that reaches nobody.
func (w *world) kill(a *process) {
	w.mu.Lock()
	a.life.over.Store(true)
	w.mu.Unlock()
	left := w.t.TempDir()
	b, err := os.ReadFile(filepath.Join(a.journal, "journal"))
	if err == nil {
		err = os.WriteFile(filepath.Join(left, "journal"), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.faults.CutAll()
	a.stop()
	a.journal = left
	w.sum.Kills++
}

// halt ends a process as SIGTERM does.
func (w *world) halt(a *process) {
	w.mu.Lock()
	stop, ended := a.stop, a.ended
	w.mu.Unlock()
	stop()
	<-ended
}

// lives is false while a process waits to be started again.
func (w *world) lives(a *process) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !a.life.over.Load()
}

// check holds what came of it against the record.
func (w *world) check() {
	last := make([]uint64, w.plan.vms)
	for vm, ids := range w.order {
		for _, id := range ids {
			c := w.planned(id)
			e := w.entry(id)
			if c.options.Urgent || c.kind == concurrent {
				continue
			}
			if e.Seq < last[vm] {
				w.t.Errorf("%s began out of order", id)
			}
			last[vm] = e.Seq
		}
	}
	for _, c := range w.plan.commands {
		e := w.entry(c.id)
		w.sum.Commands++
		w.count(e.State.Stage)
		if err := w.judge(c, e); err != nil {
			w.t.Errorf("%s, a command of type %s: %v\nplan: %+v\nbegun %d times, ended %d times\nledger: %+v", c.id, c.kind, err, c, w.begun[c.id], w.done[c.id], e)
		}
	}
}

func (w *world) entry(id string) *ledger.Entry {
	e, err := w.ledger.Get(context.Background(), id)
	if err != nil {
		w.t.Fatalf("%s is lost: %v", id, err)
	}
	return e
}

// judge says what is wrong with the outcome of a command.
func (w *world) judge(c planned, e *ledger.Entry) error {
	begun, done := w.begun[c.id], w.done[c.id]
	once := 1 + c.deferred
	if begun > once && c.kind != repeatable {
		return errors.New("its handler ran twice")
	}
	if e.State.Verdict && begun > 0 {
		return fmt.Errorf("the controller says %s, and it ran", e.State.Stage)
	}
	for _, step := range e.History {
		if step.Stage == ack.Started && (e.Cancel != nil && step.At.After(e.Cancel.At) || e.Command.Expired(step.At)) {
			return errors.New("it was let start, cancelled or expired as it was")
		}
	}
	switch stage := e.State.Stage; stage {
	case ack.Succeeded:
		if done == 0 && c.kind != completed {
			return errors.New("succeeded, and its handler did not end")
		}
		if c.fails && c.kind != completed {
			return errors.New("succeeded, and its handler failed")
		}
	case ack.Failed:
		if done == 0 || !c.fails {
			return errors.New("failed, and its handler did not")
		}
	case ack.Rejected:
		if c.kind != nobodys {
			return errors.New("rejected, and there is a handler")
		}
	case ack.Expired:
		if c.options.TTL == 0 {
			return errors.New("expired, and has no end")
		}
		if begun > c.deferred {
			return errors.New("expired, and had begun in time")
		}
	case ack.Canceled:
		if c.cancelAt == 0 {
			return errors.New("canceled, and nobody asked for it")
		}
	case ack.Superseded:
		if c.options.SupersedeKey == "" || done > 0 {
			return errors.New("superseded, and has no key or was done")
		}
	case ack.Interrupted:
		if begun == 0 || !w.plan.journal {
			return errors.New("interrupted, and there was nothing to interrupt")
		}
	default:
		return fmt.Errorf("it is %s, and not settled", stage)
	}
	return nil
}

func (w *world) count(stage ack.Stage) {
	switch stage {
	case ack.Succeeded:
		w.sum.Succeeded++
	case ack.Failed:
		w.sum.Failed++
	case ack.Rejected:
		w.sum.Rejected++
	case ack.Expired:
		w.sum.Expired++
	case ack.Canceled:
		w.sum.Canceled++
	case ack.Superseded:
		w.sum.Superseded++
	case ack.Interrupted:
		w.sum.Interrupted++
	}
}
