package conformance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// World is what a scenario plays in: a controller, the subject in front of it, agents behind that.
type World struct {
	ctx     context.Context
	subject Subject
	env     *Env
	seed    uint64

	ledger     ledger.Ledger
	ledgers    []ledger.Ledger // to be closed
	controller *controller.Controller
	front      *swap               // what the subject was opened on
	client     transport.Transport // the client half
	faults     *fault.Transport    // around client where there is no wire; else nil

	mu        sync.Mutex
	agents    []*testAgent
	sent      []sent
	effects   []effect
	mayRepeat map[string]bool // IDs whose handler is safe to repeat
	notes     string          // what the report is to show of this run
}

type sent struct{ vm, id string }

// effect is one run of a handler.
type effect struct {
	vm, id     string
	urgent     bool
	concurrent bool
}

// failed is what check panics with; the runner recovers it.
type failed struct{ err error }

func (w *World) fail(format string, args ...any) { panic(failed{fmt.Errorf(format, args...)}) }

func (w *World) check(ok bool, format string, args ...any) {
	if !ok {
		w.fail(format, args...)
	}
}

func (w *World) ok(err error, doing string) {
	if err != nil {
		w.fail("%s: %w", doing, err)
	}
}

func (w *World) is(err, want error, doing string) {
	if !errors.Is(err, want) {
		w.fail("%s: got error %v, want %v", doing, err, want)
	}
}

// swap lets a scenario replace the controller behind the subject.
type swap struct {
	mu sync.Mutex
	to transport.Transport
}

func (s *swap) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	s.mu.Lock()
	to := s.to
	s.mu.Unlock()
	return to.Dial(ctx, h)
}

// unbounded is for scenarios that dial more often than any agent does.
var unbounded = controller.Access{LinksPerVM: -1, DialsPerVM: controller.Rate{PerSecond: -1}}

// start makes the controller, and opens the subject on it the first time.
func (w *World) start(o controller.Options) {
	if w.ledger == nil {
		w.newLedger()
	}
	if w.controller != nil {
		w.controller.Close()
	}
	w.controller = controller.New(w.ledger, o)
	if w.front != nil {
		w.front.mu.Lock()
		w.front.to = w.controller
		w.front.mu.Unlock()
		return
	}
	w.front = &swap{to: w.controller}
	client, err := w.subject.Open(w.env, w.front)
	w.ok(err, "open the subject")
	w.client = client
	if w.subject.Facts.NoWire {
		w.faults = fault.New(client, fault.Plan{Seed: w.seed})
		w.client = w.faults
	}
}

// newLedger puts another ledger in place of what there is.
func (w *World) newLedger() {
	open := w.subject.Ledger
	if open == nil {
		open = func() (ledger.Ledger, error) { return memory.New(), nil }
	}
	l, err := open()
	w.ok(err, "open a ledger")
	w.ledger, w.sent = l, nil
	w.ledgers = append(w.ledgers, l)
}

// cut breaks every link, in the middle of whatever goes on.
func (w *World) cut() {
	if w.faults != nil {
		w.faults.CutAll()
	}
	for _, p := range w.env.proxies {
		p.Reset()
	}
}

func (w *World) config(o command.Options) command.Command {
	cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, o)
	w.ok(err, "make a command")
	return cmd
}

func (w *World) send(vm string, o command.Options) *controller.Receipt {
	return w.sendCommand(vm, w.config(o))
}

func (w *World) sendCommand(vm string, cmd command.Command) *controller.Receipt {
	r, err := w.controller.Send(w.ctx, vm, cmd)
	w.ok(err, "send")
	w.mu.Lock()
	w.sent = append(w.sent, sent{vm, r.ID()})
	w.mu.Unlock()
	return r
}

// settled waits for the end of a command, and wants it to be one stage.
func (w *World) settled(r *controller.Receipt, stage ack.Stage) ledger.Entry {
	return w.reaches(r, "settled as "+string(stage), func(e ledger.Entry) bool {
		if e.State.Settled() && e.State.Stage != stage {
			w.fail("%s is %s (%s), want %s", e.Command.ID, e.State.Stage, e.Reason, stage)
		}
		return e.State.Stage == stage
	})
}

func (w *World) reaches(r *controller.Receipt, what string, ok func(ledger.Entry) bool) ledger.Entry {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	e, err := w.controller.Receipt(r.ID()).WaitFor(ctx, ok)
	if err != nil {
		w.fail("%s is not %s: it is %s after attempt %d: %w", r.ID(), what, e.State.Stage, e.State.Attempt, err)
	}
	return e
}

func (w *World) stage(r *controller.Receipt, stage ack.Stage) ledger.Entry {
	return w.reaches(r, string(stage), func(e ledger.Entry) bool { return e.State.Stage == stage })
}

func (w *World) get(r *controller.Receipt) ledger.Entry {
	e, err := w.controller.Get(w.ctx, r.ID())
	w.ok(err, "get")
	return e
}

// until waits for a condition on presence.
func (w *World) until(vm, what string, ok func(controller.Presence) bool) controller.Presence {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	notices := w.controller.Watch(ctx)
	look := time.NewTicker(10 * time.Millisecond) // a link that opens or closes is no notice by itself
	defer look.Stop()
	for {
		if p, known := w.controller.Presence(vm); known && ok(p) {
			return p
		}
		select {
		case <-notices:
		case <-look.C:
		case <-ctx.Done():
			p, _ := w.controller.Presence(vm)
			w.fail("%s is not %s: %+v", vm, what, p)
		}
	}
}

// dial opens a link by hand.
// dial dials like an agent: again where the controller says to do so. An agent that was halted may have sent a poll, which
// is a dial of its instance, that the controller sees later than ours.
func (w *World) dial(h transport.Hello) *rawLink {
	l, err := w.tryDial(h)
	for range retries {
		if !errors.Is(err, transport.ErrUnavailable) {
			break
		}
		l, err = w.tryDial(h)
	}
	w.ok(err, "dial")
	return l
}

// retries is how often a dial is repeated that is told to come again.
const retries = 3

func (w *World) tryDial(h transport.Hello) (*rawLink, error) {
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	l, err := w.client.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	w.env.Cleanup(func() { l.Close() })
	return &rawLink{Link: l, w: w, vm: h.VM}, nil
}

// rawLink is a link used by hand.
type rawLink struct {
	transport.Link
	w  *World
	vm string
}

// receive returns exactly n deliveries.
func (l *rawLink) receive(n int) []transport.Delivery {
	ctx, cancel := context.WithTimeout(l.w.ctx, patience)
	defer cancel()
	var got []transport.Delivery
	for len(got) < n {
		page, err := l.Receive(ctx)
		if err != nil {
			l.w.fail("receive %d commands: after %d: %w", n, len(got), err)
		}
		got = append(got, page...)
	}
	l.w.check(len(got) == n, "received %d commands, want %d", len(got), n)
	return got
}

// quiet is how long nothing must come for nothing to be due.
const quiet = 300 * time.Millisecond

func (l *rawLink) nothing() {
	ctx, cancel := context.WithTimeout(l.w.ctx, quiet)
	defer cancel()
	page, err := l.Receive(ctx)
	if len(page) > 0 {
		l.w.fail("received %s attempt %d, want nothing", page[0].ID, page[0].Attempt)
	}
	l.w.is(err, context.DeadlineExceeded, "wait for nothing")
}

// end waits until the link ends, and returns why.
func (l *rawLink) end() error {
	ctx, cancel := context.WithTimeout(l.w.ctx, patience)
	defer cancel()
	for {
		_, err := l.Receive(ctx)
		if ctx.Err() != nil {
			l.w.fail("the link does not end")
		}
		if err != nil {
			return err
		}
	}
}

func (l *rawLink) say(id string, stage ack.Stage) error {
	ctx, cancel := context.WithTimeout(l.w.ctx, patience)
	defer cancel()
	return l.Ack(ctx, ack.Ack{CommandID: id, Stage: stage})
}

func (l *rawLink) mustSay(id string, stage ack.Stage) {
	l.w.ok(l.say(id, stage), "ack "+string(stage))
}

// testAgent is an agent whose handlers are recorded.
type testAgent struct {
	*agent.Agent
	w    *World
	vm   string
	stop context.CancelFunc
	done chan struct{}
	err  error // of Run; read after done
}

// work is what a handler does; nil succeeds at once.
type work func(ctx context.Context, job *agent.Job) (any, error)

type agentOptions struct {
	agent.Options
	policy  agent.Policy
	do      work
	via     transport.Transport // default: the subject
	prepare func(a *agent.Agent)
}

// agent starts an agent that handles update_config.
func (w *World) agent(vm string, o agentOptions) *testAgent {
	o.VM = vm
	if o.BackoffInitial == 0 {
		o.BackoffInitial, o.BackoffMax = 5*time.Millisecond, 50*time.Millisecond
	}
	o.StopGrace = 5 * time.Second
	if v := os.Getenv("MIGLINK_CONFORMANCE_LOG"); v != "" {
		o.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	via := o.via
	if via == nil {
		via = w.client
	}
	a, err := agent.New(via, o.Options)
	w.ok(err, "make an agent")
	t := &testAgent{Agent: a, w: w, vm: vm, done: make(chan struct{})}
	a.HandleRaw(command.TypeUpdateConfig, w.recorded(vm, o.policy, o.do), o.policy)
	if o.prepare != nil {
		o.prepare(a)
	}
	ctx, stop := context.WithCancel(w.ctx)
	t.stop = stop
	go func() {
		defer close(t.done)
		t.err = a.Run(ctx)
	}()
	w.mu.Lock()
	w.agents = append(w.agents, t)
	w.mu.Unlock()
	return t
}

// recorded is a handler that leaves an effect.
func (w *World) recorded(vm string, p agent.Policy, do work) work {
	return func(ctx context.Context, job *agent.Job) (any, error) {
		c := job.Command()
		w.mu.Lock()
		w.effects = append(w.effects, effect{vm, c.ID, c.Urgent, p.Concurrent})
		w.mu.Unlock()
		if do == nil {
			return nil, nil
		}
		return do(ctx, job)
	}
}

// runs counts the runs of a command's handler.
func (w *World) runs(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.effects {
		if e.id == id {
			n++
		}
	}
	return n
}

// repeatable says that the handler of a command may run more than once.
func (w *World) repeatable(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mayRepeat[id] = true
}

// halt ends the agent and waits for it.
func (a *testAgent) halt() error {
	a.stop()
	return a.ended()
}

func (a *testAgent) ended() error {
	select {
	case <-a.done:
		return a.err
	case <-time.After(patience):
		a.w.fail("the agent of %s does not end", a.vm)
		return nil
	}
}

func (w *World) close() {
	w.mu.Lock()
	agents := slices.Clone(w.agents)
	w.mu.Unlock()
	for _, a := range agents {
		a.stop()
	}
	for _, a := range agents {
		<-a.done
	}
	if w.controller != nil {
		w.controller.Close()
	}
	w.env.close()
}

func vmName(i int) string { return "vm-" + strconv.Itoa(i) }
