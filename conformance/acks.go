package conformance

import (
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

var acks = []Scenario{
	{
		Number: 12, Name: "stages-in-order",
		Given: "a handler that reports progress", When: "it runs", Then: "the controller sees started, progress and the end, in this order",
		Run: func(w *World) {
			w.start(controller.Options{})
			step := make(chan struct{})
			w.agent("vm", agentOptions{do: func(ctx context.Context, job *agent.Job) (any, error) {
				<-step
				if err := job.Progress("half way", map[string]int{"percent": 50}); err != nil {
					return nil, err
				}
				<-step
				return "done", nil
			}})
			r := w.send("vm", command.Options{})
			w.stage(r, ack.Started)
			step <- struct{}{}
			e := w.stage(r, ack.Progress)
			w.check(string(e.Result) == `{"percent":50}` && e.Reason == "half way", "progress is %s, %q", e.Result, e.Reason)
			step <- struct{}{}
			e = w.settled(r, ack.Succeeded)
			var stages []ack.Stage
			for _, s := range e.History {
				if s.Stage != ack.Received {
					stages = append(stages, s.Stage)
				}
			}
			w.check(slices.Equal(stages, []ack.Stage{ack.Queued, ack.Delivered, ack.Started, ack.Progress, ack.Succeeded}), "the history is %v", stages)
			w.check(string(e.Result) == `"done"`, "the result is %s", e.Result)
		},
	},
	{
		Number: 13, Name: "reject-terminal",
		Given: "a handler that rejects", When: "the ack deadline passes", Then: "the command is rejected and does not come again",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short})
			a := w.agent("vm", agentOptions{do: func(context.Context, *agent.Job) (any, error) { return nil, agent.Reject("not here") }})
			r := w.send("vm", command.Options{})
			e := w.settled(r, ack.Rejected)
			w.check(e.Reason == "not here", "the reason is %q", e.Reason)
			w.ok(a.halt(), "run")
			l := w.dial(transport.Hello{VM: "vm", Instance: "later"})
			l.nothing()
		},
	},
	{
		Number: 14, Name: "retry-later",
		Given: "an agent that defers a command", When: "the delay has passed, and not before", Then: "it is tried again; nothing has overtaken it",
		Run: func(w *World) {
			w.start(controller.Options{})
			var times []time.Time
			w.agent("vm", agentOptions{do: func(_ context.Context, job *agent.Job) (any, error) {
				times = append(times, time.Now())
				if len(times) == 1 {
					return nil, agent.RetryLater(short, "busy")
				}
				return nil, nil
			}})
			r := w.send("vm", command.Options{})
			next := w.send("vm", command.Options{})
			w.repeatable(r.ID())
			e := w.settled(r, ack.Succeeded)
			w.settled(next, ack.Succeeded)
			w.check(times[1].Sub(times[0]) >= short, "tried again after %s, asked for %s", times[1].Sub(times[0]), short)
			w.check(e.State.Attempt >= 2, "the attempt is %d", e.State.Attempt)
			w.check(len(times) == 3, "the handler was called %d times", len(times))

			// The same for an agent that leaves it all to the controller.
			l := w.dial(transport.Hello{VM: "raw", Instance: "a"})
			r = w.send("raw", command.Options{})
			l.receive(1)
			w.ok(l.Ack(w.ctx, ack.Ack{CommandID: r.ID(), Stage: ack.Deferred, Code: "lane_closed", RetryAfter: short.Seconds()}), "defer")
			e = w.get(r)
			w.check(e.Code == "lane_closed", "the code of the deferral is %q", e.Code)
			deferred := e.UpdatedAt
			w.send("raw", command.Options{})
			got := l.receive(2)
			w.check(got[0].ID == r.ID() && got[0].Attempt == 2, "first came %s, attempt %d", got[0].ID, got[0].Attempt)
			w.check(time.Since(deferred) >= short, "it came again too soon")
			e = w.get(r)
			w.check(e.Code == "", "the code is %q, that of an earlier stage", e.Code)
		},
	},
	{
		Number: 15, Name: "long-handler",
		Given: "a handler that runs for longer than the ack deadline", When: "the deadline passes", Then: "the command is not delivered again",
		Run: func(w *World) {
			const deadline = time.Second
			w.start(controller.Options{AckDeadline: deadline})
			g := newGate()
			w.agent("vm", agentOptions{do: g.first})
			r := w.send("vm", command.Options{})
			g.wait(w)
			select {
			case <-time.After(deadline * 3 / 2):
			case <-w.ctx.Done():
			}
			w.check(w.get(r).State.Attempt == 1, "it was delivered %d times", w.get(r).State.Attempt)
			g.open()
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 16, Name: "double-ack",
		Given: "a command that is settled", When: "the same ack comes again", Then: "it is no error, and recorded once",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			l.mustSay(r.ID(), ack.Succeeded)
			before := w.get(r)
			l.mustSay(r.ID(), ack.Succeeded)
			l.mustSay(r.ID(), ack.Failed)
			after := w.get(r)
			w.check(len(before.History) == len(after.History) && after.State == before.State, "the state went from %+v to %+v", before.State, after.State)
		},
	},
	{
		Number: 17, Name: "ack-lost",
		Given: "a handler that has done its work", When: "the link is cut before its ack arrives", Then: "the ack is sent again until it is recorded, and the work is not repeated",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{do: func(context.Context, *agent.Job) (any, error) {
				w.cut()
				return nil, nil
			}})
			for range 5 {
				w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			}
		},
	},
	{
		Number: 87, Name: "ack-cut-while-recorded",
		Given: "an ack on its way into the ledger", When: "the link is cut in that moment, and the ack is said again", Then: "whoever waits for the end of the command hears of it at once",
		Run: func(w *World) {
			w.start(controller.Options{Access: unbounded})
			moments := rand.New(rand.NewPCG(w.seed, 87))
			for range 50 {
				r := w.send("vm", command.Options{})
				l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
				l.receive(1)
				heard := make(chan error, 1)
				go func() {
					_, err := r.Wait(w.ctx)
					heard <- err
				}()
				said := make(chan struct{})
				go func() {
					_ = l.say(r.ID(), ack.Succeeded) // it may arrive or not
					close(said)
				}()
				time.Sleep(time.Duration(moments.Int64N(int64(3 * time.Millisecond))))
				w.cut()
				<-said
				l.Close()
				w.dial(transport.Hello{VM: "vm", Instance: "a", Uplink: true}).mustSay(r.ID(), ack.Succeeded)
				select {
				case err := <-heard:
					w.ok(err, "wait for the end")
				case <-time.After(patience):
					w.fail("%s is %s, and who waits for that does not hear of it", r.ID(), w.get(r).State.Stage)
				}
			}
		},
	},
	{
		Number: 88, Name: "large-results",
		Given: "fifty handlers with results of the largest size that end while no link is open", When: "the link is back", Then: "all of their results are recorded",
		Run: func(w *World) {
			w.start(controller.Options{})
			const n = 50
			result := strings.Repeat("x", ack.MaxResult-2) // and two quotes
			var running sync.WaitGroup
			running.Add(n)
			release := make(chan struct{})
			way := &gated{Transport: w.client}
			w.agent("vm", agentOptions{via: way, policy: agent.Policy{Concurrent: true}, do: func(context.Context, *agent.Job) (any, error) {
				running.Done()
				<-release
				return result, nil
			}})
			var rs []*controller.Receipt
			for range n {
				rs = append(rs, w.send("vm", command.Options{}))
			}
			running.Wait()
			way.shut(true)
			w.until("vm", "detached", func(p controller.Presence) bool {
				w.cut() // again, for an agent that was between two requests: there was nothing to cut
				return !p.Attached
			})
			close(release)
			way.shut(false)
			for _, r := range rs {
				w.check(len(w.settled(r, ack.Succeeded).Result) == len(result)+2, "the result is another")
			}
		},
	},
	{
		Number: 18, Name: "late-ack",
		Given: "a command that the controller has given up", When: "its result comes after all", Then: "the result is recorded",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short / 3, MaxAttempts: 1})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			l.nothing()
			w.settled(r, ack.Dead)
			l.mustSay(r.ID(), ack.Succeeded)
			w.check(w.get(r).State == ack.State{Stage: ack.Succeeded, Attempt: 1}, "the state is %+v", w.get(r).State)
		},
	},
	{
		Number: 19, Name: "stale-attempt",
		Given: "a command under its second attempt", When: "results of the first and the second come", Then: "there is one outcome, the first",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(2)
			w.ok(l.Ack(w.ctx, ack.Ack{CommandID: r.ID(), Attempt: 1, Stage: ack.Succeeded}), "ack attempt 1")
			w.ok(l.Ack(w.ctx, ack.Ack{CommandID: r.ID(), Attempt: 2, Stage: ack.Failed}), "ack attempt 2")
			w.check(w.get(r).State.Stage == ack.Succeeded, "the outcome is %s", w.get(r).State.Stage)
		},
	},
	{
		Number: 20, Name: "ack-elsewhere",
		Given: "a command delivered over a link that has gone", When: "its ack comes over another link", Then: "it is recorded",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			l.Close()
			up := w.dial(transport.Hello{VM: "vm", Instance: "a", Uplink: true})
			up.mustSay(r.ID(), ack.Succeeded)
			w.check(w.get(r).State.Stage == ack.Succeeded, "the command is %s", w.get(r).State.Stage)
		},
	},
	{
		Number: 21, Name: "stage-regression",
		Given: "a command that has succeeded", When: "an earlier stage is reported late", Then: "nothing changes",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			l.mustSay(r.ID(), ack.Started)
			l.mustSay(r.ID(), ack.Received)
			w.check(w.get(r).State.Stage == ack.Started, "it went back to %s", w.get(r).State.Stage)
			l.mustSay(r.ID(), ack.Succeeded)
			for _, stage := range []ack.Stage{ack.Received, ack.Started, ack.Progress, ack.Deferred} {
				if stage == ack.Started { // which might ask whether it may
					w.is(l.say(r.ID(), stage), transport.ErrCommandSettled, "a start of what has ended")
				} else {
					l.mustSay(r.ID(), stage)
				}
				w.check(w.get(r).State.Stage == ack.Succeeded, "%s took it back to %s", stage, w.get(r).State.Stage)
			}
		},
	},
	{
		Number: 22, Name: "shutdown-before-ack",
		Given: "a command that ends the agent before it can say so", When: "the agent is back", Then: "the command has succeeded, and ran once",
		Run: func(w *World) { w.dieInHandler(w.tempDir(), agent.Completed, ack.Succeeded) },
	},
	{
		Number: 23, Name: "crash-after-effect",
		Given: "an agent that dies in the middle of a handler", When: "it is back", Then: "the command is reported as interrupted, and is not run again",
		Run: func(w *World) { w.dieInHandler(w.tempDir(), agent.Interrupted, ack.Interrupted) },
	},
	{
		Number: 84, Name: "crash-without-journal",
		Given: "an agent without a journal that dies in the middle of a handler", When: "another takes its place", Then: "it is told that the command had begun, reports it as interrupted, and does not run it",
		Run: func(w *World) { w.dieInHandler("", agent.Interrupted, ack.Interrupted) },
	},
	{
		Number: 24, Name: "journal-full",
		Given: "an agent whose journal is full", When: "a command comes", Then: "it is rejected, and not run",
		Run: func(w *World) {
			w.start(controller.Options{})
			dir := w.tempDir()
			w.agent("vm", agentOptions{Options: agent.Options{Journal: dir, JournalLimit: 4 << 10}})
			large := make([]byte, 8<<10)
			for i := range large {
				large[i] = 'x'
			}
			cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: string(large)}, command.Options{})
			w.ok(err, "make a command")
			r := w.sendCommand("vm", cmd)
			w.settled(r, ack.Rejected)
			w.check(w.runs(r.ID()) == 0, "it ran")
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
	{
		Number: 25, Name: "start-refused",
		Given: "a command that was delivered", When: "it is cancelled before it starts", Then: "the start is refused, and the handler never runs",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			l.receive(1)
			_, err := w.controller.Cancel(w.ctx, r.ID(), "changed my mind")
			w.ok(err, "cancel")
			w.is(l.say(r.ID(), ack.Started), transport.ErrCommandCanceled, "start")
			l.mustSay(r.ID(), ack.Canceled)

			// And an agent that asks first: it holds the command behind a busy lane.
			g := newGate()
			w.agent("busy", agentOptions{do: g.first, policy: agent.Policy{Confirm: true}})
			first := w.send("busy", command.Options{})
			g.wait(w)
			second := w.send("busy", command.Options{SupersedeKey: "k"})
			w.stage(second, ack.Received)
			third := w.send("busy", command.Options{SupersedeKey: "k"})
			g.open()
			w.settled(first, ack.Succeeded)
			w.settled(third, ack.Succeeded)
			w.settled(second, ack.Superseded)
			w.check(w.runs(second.ID()) == 0, "the superseded command ran")
		},
	},
}

// dieInHandler ends an agent while its handler runs, and starts another on the same journal; an empty
// dir is none.
func (w *World) dieInHandler(dir string, policy agent.AfterCrash, want ack.Stage) {
	w.start(controller.Options{})
	g := newGate()
	o := agentOptions{
		Options: agent.Options{Journal: dir},
		policy:  agent.Policy{Confirm: true, AfterCrash: policy},
		do:      func(ctx context.Context, _ *agent.Job) (any, error) { return g.hold(ctx) },
	}
	first := w.agent("vm", o)
	r := w.send("vm", command.Options{})
	behind := w.send("vm", command.Options{})
	g.wait(w)
	w.ok(first.halt(), "end the agent")
	w.check(w.get(r).State.Stage == ack.Started, "it is %s", w.get(r).State.Stage)

	o.do = nil
	w.agent("vm", o)
	w.settled(r, want)
	w.settled(behind, ack.Succeeded)
	w.check(w.runs(r.ID()) == 1, "it ran %d times", w.runs(r.ID()))
}

// tempDir is a directory that goes with the scenario.
func (w *World) tempDir() string {
	dir, err := os.MkdirTemp("", "miglink-conformance-")
	w.ok(err, "make a directory")
	w.env.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// settledAny waits for any end.
func (w *World) settledAny(r *controller.Receipt) ledger.Entry {
	return w.reaches(r, "settled", func(e ledger.Entry) bool { return e.State.Settled() })
}

// gated is a transport that can be shut: then no dial succeeds.
type gated struct {
	transport.Transport
	mu     sync.Mutex
	closed bool
}

func (g *gated) shut(closed bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = closed
}

func (g *gated) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	g.mu.Lock()
	closed := g.closed
	g.mu.Unlock()
	if closed {
		return nil, errors.New("shut")
	}
	return g.Transport.Dial(ctx, h)
}
