package conformance

import (
	"context"
	"fmt"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// ordering is what must not overtake something else, and what must.
var ordering = []Scenario{
	{
		Number: 104, Name: "progress-in-order",
		Given: "a handler that reports progress again and again", When: "it goes on without another report", Then: "the latest report is what the controller shows",
		Run: func(w *World) {
			w.start(controller.Options{})
			const reports = 300
			seen, g := newGate(), newGate()
			w.agent("vm", agentOptions{do: func(ctx context.Context, job *agent.Job) (any, error) {
				if err := job.Progress("step 0", 0); err != nil {
					return nil, err
				}
				if _, err := seen.hold(ctx); err != nil {
					return nil, err
				}
				for i := range reports {
					if err := job.Progress(fmt.Sprint("step ", i+1), i+1); err != nil {
						return nil, err
					}
				}
				return g.hold(ctx)
			}})
			r := w.send("vm", command.Options{})
			w.stage(r, ack.Progress)
			seen.open()
			last := fmt.Sprint("step ", reports)
			e := w.reaches(r, "at "+last, func(e ledger.Entry) bool { return e.Reason == last })
			w.check(string(e.Result) == fmt.Sprint(reports), "%s came with the result %s", last, e.Result)
			select {
			case <-time.After(quiet):
			case <-w.ctx.Done():
			}
			w.check(w.get(r).Reason == last, "after %q it shows %q", last, w.get(r).Reason)
			g.open()
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 105, Name: "frames-in-order", NeedsFrames: true,
		Given: "a client by hand that reports progress in many frames, and waits for no answer", When: "the last is answered", Then: "the latest report is what the controller shows",
		Run: func(w *World) {
			w.start(controller.Options{})
			t := w.talk("vm").greet()
			r := w.send("vm", command.Options{})
			for len(t.hear().Commands) == 0 {
			}
			n, last := 0, ""
			for i := range 300 {
				last = fmt.Sprint("step ", i)
				n = t.say(fmt.Sprintf(`"acks":[{"command_id":%q,"status":"progress","attempt":1,"reason":%q}]`, r.ID(), last))
			}
			t.recorded(n)
			w.check(w.get(r).Reason == last, "it shows %q, want %q", w.get(r).Reason, last)
		},
	},
	{
		Number: 106, Name: "urgent-waits-for-no-deferral",
		Given: "commands, urgent ones among them, that are deferred for long", When: "another urgent one is sent", Then: "it comes at once, also over a later link, and one that is not urgent does not",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a", Window: 2})
			for _, o := range []command.Options{{Urgent: true}, {Urgent: true}, {}} {
				r := w.send("vm", o)
				l.receive(1)
				w.ok(l.Ack(w.ctx, ack.Ack{CommandID: r.ID(), Stage: ack.Deferred, RetryAfter: 3600}), "defer")
			}
			w.send("vm", command.Options{})
			urgent := w.send("vm", command.Options{Urgent: true})
			w.check(l.receive(1)[0].ID == urgent.ID(), "another command came")
			l.nothing()
			l.Close()
			l = w.dial(transport.Hello{VM: "vm", Instance: "a", Window: 2})
			w.check(l.receive(1)[0].ID == urgent.ID(), "another command came over a later link")
			l.nothing()
			l.mustSay(urgent.ID(), ack.Succeeded)

			// An agent of which one is deferred can be asked to end it.
			w.agent("other", agentOptions{do: func(context.Context, *agent.Job) (any, error) { return nil, agent.RetryLater(time.Hour, "not now") }})
			r := w.send("other", command.Options{Urgent: true})
			w.stage(r, ack.Deferred)
			_, err := w.controller.Cancel(w.ctx, r.ID(), "not at all")
			w.ok(err, "cancel")
			w.settled(r, ack.Canceled)
		},
	},
}
