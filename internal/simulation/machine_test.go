package simulation_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing/synctest"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/clock"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/transport"
)

// machine is a VM, or a clone of one, and the agent that runs on it: one process after the other.
type machine struct {
	vm       int
	journal  string // directory; empty: none
	instance string // of the first process; empty: its own
	clock    *clocks
	road     *road

	// guarded by world.mu
	agent *agent.Agent
	life  *life
	stop  context.CancelFunc
	ended chan struct{}
	told  bool // to stop, since another machine has taken its place: nobody starts it again
}

// life is whether an agent's process is alive. What it does after it was killed nobody sees.
type life struct {
	over atomic.Bool

	// guarded by world.mu
	running, alone int             // handlers, and those of exclusive commands
	lanes          map[bool]string // the command of which one runs, but concurrent ones, by whether it is urgent
}

// wire is what a process reaches the controller by. One that was killed reaches nothing.
type wire struct {
	transport.Transport
	life   *life
	direct bool // links are transport.Direct
}

var errKilled = errors.New("this process was killed")

func (t wire) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	if t.life.over.Load() {
		return nil, errKilled
	}
	l, err := t.Transport.Dial(ctx, h)
	if err == nil && t.life.over.Load() {
		l.Close()
		return nil, errKilled
	}
	if err == nil && t.direct {
		l = linktest.Direct(l)
	}
	return l, err
}

// begin starts an agent's process.
func (w *world) begin(m *machine) {
	ctx, stop := context.WithCancel(clock.With(context.Background(), m.clock.read))
	life, ended := &life{lanes: map[bool]string{}}, make(chan struct{})
	m.road.begins(life)
	a, err := agent.New(wire{m.road, life, w.plan.direct}, agent.Options{
		VM: vmName(m.vm), Instance: m.instance, Journal: m.journal, Window: w.plan.window, BackoffMax: 5 * time.Second,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for kind, policy := range map[command.Type]agent.Policy{
		ordered:    {},
		confirmed:  {Confirm: true},
		concurrent: {Concurrent: true},
		exclusive:  {Exclusive: true},
		repeatable: {AfterCrash: agent.RunAgain},
		completed:  {AfterCrash: agent.Completed},
	} {
		a.HandleRaw(kind, func(ctx context.Context, job *agent.Job) (any, error) {
			return nil, w.handle(ctx, m, life, job)
		}, policy)
	}
	w.mu.Lock()
	m.agent, m.life, m.ended, m.stop, m.instance = a, life, ended, stop, ""
	w.mu.Unlock()
	go func() {
		defer close(ended)
		err := a.Run(ctx)
		w.mu.Lock()
		defer w.mu.Unlock()
		lived := ctx.Err() == nil && !life.over.Load()
		life.over.Store(true)
		if !lived {
			return
		}
		m.told = true
		w.died(m)
		if !errors.Is(err, transport.ErrSuperseded) || !w.cloned(m.vm) {
			w.t.Errorf("the agent of %s has ended: %v", vmName(m.vm), err)
		}
	}()
}

// kill ends a process as kill -9 does: all that is left of it is a copy of its journal, as it was. The
// process itself lives on for a while as a ghost that reaches nobody.
func (w *world) kill(m *machine) {
	left := w.copyJournal(m)
	w.mu.Lock()
	m.life.over.Store(true)
	w.died(m)
	w.mu.Unlock()
	w.faults.CutAll()
	m.stop()
	m.journal = left
	w.sum.Kills++
}

// copyJournal returns a directory with the journal as it is now.
func (w *world) copyJournal(m *machine) string {
	synctest.Wait() // every goroutine has got as far as it can, and with it the journal
	left := w.t.TempDir()
	b, err := os.ReadFile(filepath.Join(m.journal, "journal"))
	if err == nil {
		err = os.WriteFile(filepath.Join(left, "journal"), b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return left
}

// halt ends a process as SIGTERM does.
func (w *world) halt(m *machine) {
	w.mu.Lock()
	stop, ended := m.stop, m.ended
	w.mu.Unlock()
	stop()
	<-ended
	w.mu.Lock()
	defer w.mu.Unlock()
	w.died(m)
}

// lives is false once a process was told to stop.
func (w *world) lives(m *machine) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !m.life.over.Load()
}

// maxMachines is how many there are of one VM at most.
const maxMachines = 3

// clone makes another machine of the same VM, of the same instance and with a copy of the journal as it is now. Both go on.
func (w *world) clone(m *machine) {
	if !w.lives(m) || len(w.of(m.vm)) >= maxMachines {
		return
	}
	c := &machine{vm: m.vm, clock: m.clock.copy(), road: newRoad(w.faults, w.heard), instance: m.agent.Instance()}
	if m.journal != "" {
		c.journal = w.copyJournal(m)
		if _, is := full.Load(m.journal); is {
			full.Store(c.journal, true)
		}
	}
	w.mu.Lock()
	w.machines = append(w.machines, c)
	w.mu.Unlock()
	w.begin(c)
	w.sum.Clones++
}
