package conformance

import (
	"context"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

var instances = []Scenario{
	{
		Number: 98, Name: "cloned-while-it-ran",
		Given: "a VM that is cloned while its agent runs, so that two agents have one instance", When: "commands come that ask before they start",
		Then: "no handler runs twice, one of the agents goes on under another name, the other is told to stop, and a notice names both",
		Run: func(w *World) {
			w.start(controller.Options{})
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			notices := w.controller.Watch(ctx)
			o := agentOptions{Options: agent.Options{Instance: "one"}, policy: agent.Policy{Confirm: true, Concurrent: true}}
			first := w.agent("vm", o)
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			second := w.agent("vm", o)
			stopped, lives := first, second
			for limit := time.Now().Add(patience); ; {
				r := w.send("vm", command.Options{})
				e := w.settledAny(r)
				w.check(e.State.Stage == ack.Succeeded || e.State.Stage == ack.Interrupted, "%s is %s (%s)", r.ID(), e.State.Stage, e.Reason)
				select {
				case <-first.done:
				case <-second.done:
					stopped, lives = second, first
				case <-time.After(50 * time.Millisecond):
					w.check(time.Now().Before(limit), "neither of the agents is told to stop")
					continue
				}
				break
			}
			w.is(stopped.err, transport.ErrSuperseded, "the run of one of the agents")
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			w.check(lives.Instance() != "one", "the other still has the same instance")
			for n := range notices {
				if n.Kind == controller.NoticeFenced && n.New == lives.Instance() {
					w.check(n.Old != "", "the notice does not say who was fenced")
					return
				}
			}
			w.fail("no notice of the fencing")
		},
	},
	{
		Number: 99, Name: "start-of-another",
		Given: "a command that one instance of the agent has started", When: "another says that it starts it",
		Then: "it is told that it may not, unless it says that this does no harm, and nobody may once the command has ended",
		Run: func(w *World) {
			w.start(controller.Options{})
			a := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			a.receive(1)
			a.mustSay(r.ID(), ack.Started)
			b := w.dial(transport.Hello{VM: "vm", Instance: "b"})
			w.check(b.receive(1)[0].Started, "it is not told that the command was started")
			w.is(b.say(r.ID(), ack.Started), transport.ErrCommandStarted, "the start of the other")
			w.check(w.get(r).Instance == "a", "it was started by %q", w.get(r).Instance)
			again := ack.Ack{CommandID: r.ID(), Stage: ack.Started, Again: true}
			w.ok(b.Ack(w.ctx, again), "the start of the other, which does no harm")
			w.check(w.get(r).Instance == "b", "it was started by %q", w.get(r).Instance)
			late := w.dial(transport.Hello{VM: "vm", Instance: "a", Uplink: true})
			w.is(late.say(r.ID(), ack.Started), transport.ErrSuperseded, "a start of who was fenced")
			late = w.dial(transport.Hello{VM: "vm", Instance: "a", Uplink: true})
			late.mustSay(r.ID(), ack.Succeeded)
			w.is(b.Ack(w.ctx, again), transport.ErrCommandSettled, "a start of what has ended")
		},
	},
	{
		Number: 100, Name: "answered-each-time",
		Given: "an agent that says nothing of a command but when it comes again", When: "it has come more often than a command may without an answer",
		Then: "it is not given up, and least of all once it has started",
		Run: func(w *World) {
			w.start(controller.Options{AckDeadline: short / 3, MaxAttempts: 3})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{})
			for range 5 {
				l.receive(1)
				l.mustSay(r.ID(), ack.Received)
			}
			l.mustSay(r.ID(), ack.Started)
			l.receive(5)
			w.check(w.get(r).State.Stage == ack.Started, "it is %s (%s)", w.get(r).State.Stage, w.get(r).Reason)
			l.mustSay(r.ID(), ack.Succeeded)
		},
	},
}
