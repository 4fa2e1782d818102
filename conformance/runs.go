package conformance

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// runs are those that last too long.
var runs = []Scenario{
	{
		Number: 108, Name: "run-timeout",
		Given: "handlers that run for longer than their commands may, and commands behind them", When: "their time is over", Then: "both have failed as run_timeout; what is behind runs, also behind one that heeds nothing, which is shown, and whose late result counts",
		Run: func(w *World) {
			w.start(controller.Options{})
			limited := command.Options{RunTimeout: command.MinRunTimeout}
			hangs := newGate()
			causes := make(chan error, 1)
			w.agent("heeds", agentOptions{do: func(ctx context.Context, job *agent.Job) (any, error) {
				if job.Command().RunTimeout == 0 {
					return nil, nil
				}
				<-ctx.Done()
				causes <- context.Cause(ctx)
				return nil, ctx.Err()
			}})
			w.agent("hangs", agentOptions{Options: agent.Options{RunGrace: short}, do: func(_ context.Context, job *agent.Job) (any, error) {
				if job.Command().RunTimeout == 0 {
					return nil, nil
				}
				_, _ = hangs.hold(context.Background())
				return "late", nil
			}})
			heeds, hanging := w.send("heeds", limited), w.send("hangs", limited)
			behind := []*controller.Receipt{w.send("heeds", command.Options{}), w.send("hangs", command.Options{})}
			for _, r := range []*controller.Receipt{heeds, hanging} {
				e := w.settled(r, ack.Failed)
				w.check(e.Code == ack.CodeRunTimeout && !e.State.Verdict, "it has ended as %+v with the code %q", e.State, e.Code)
			}
			w.is(<-causes, agent.ErrRunTimeout, "the cause of the handler's context")
			for _, r := range behind {
				w.settled(r, ack.Succeeded)
			}
			w.until("hangs", "shown with an abandoned run", func(p controller.Presence) bool { return p.Abandoned == 1 })
			hangs.open()
			e := w.reaches(hanging, "settled anew", func(e ledger.Entry) bool { return e.State.Stage == ack.Succeeded })
			w.check(string(e.Result) == `"late"` && e.Code == "", "it has the result %s and the code %q", e.Result, e.Code)
			w.until("hangs", "shown without an abandoned run", func(p controller.Presence) bool { return p.Abandoned == 0 })
		},
	},
	{
		Number: 112, Name: "run-timeout-on-the-wire",
		Given: "commands whose runs are limited, and one whose run is not", When: "they are delivered, begin, are given up by the agent and come to another end", Then: "the agent knows the limit each time, the controller by when they end, and the late end counts, but for that of a run that was given up after it",
		Run: func(w *World) {
			const limit = 90 * time.Second
			w.start(controller.Options{AckDeadline: 4 * short})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			r := w.send("vm", command.Options{RunTimeout: limit})
			for range 2 {
				d := l.receive(1)[0]
				w.check(time.Duration(d.RunTimeout) == limit, "a run may last %s", d.RunTimeout)
			}
			say := func(l *rawLink, id string, a ack.Ack) {
				a.CommandID = id
				w.ok(l.Ack(w.ctx, a), "ack "+string(a.Stage))
			}
			ends := func(r *controller.Receipt, want time.Duration) {
				e := w.get(r)
				w.check(e.RunEnds.Sub(e.UpdatedAt) == want, "it is to end %s after its start, want %s", e.RunEnds.Sub(e.UpdatedAt), want)
			}
			say(l, r.ID(), ack.Ack{Stage: ack.Started, EndsIn: 95_500})
			ends(r, 95_500*time.Millisecond)
			gaveUp := ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout, Reason: "it hangs"}
			say(l, r.ID(), gaveUp)
			e := w.settled(r, ack.Failed)
			w.check(e.Code == ack.CodeRunTimeout && e.Reason == "it hangs", "it has the code %q and the reason %q", e.Code, e.Reason)
			w.check(transport.Refused(l.say(r.ID(), ack.Started)), "it may start once more")
			say(l, r.ID(), ack.Ack{Stage: ack.Succeeded, Result: json.RawMessage(`1`)})
			say(l, r.ID(), gaveUp)
			e = w.settled(r, ack.Succeeded)
			w.check(e.Code == "" && string(e.Result) == "1", "it has the code %q and the result %s", e.Code, e.Result)

			other := w.dial(transport.Hello{VM: "other", Instance: "a"})
			silent, free := w.send("other", command.Options{RunTimeout: limit}), w.send("other", command.Options{})
			got := other.receive(2)
			w.check(got[1].ID == free.ID() && got[1].RunTimeout == 0, "a run of %s may last %s", got[1].ID, got[1].RunTimeout)
			say(other, silent.ID(), ack.Ack{Stage: ack.Started})
			ends(silent, limit+ledger.RunGrace)
			say(other, free.ID(), ack.Ack{Stage: ack.Started})
			w.check(w.get(free).RunEnds.IsZero(), "a run without a limit is to end")
			err := other.Ack(w.ctx, ack.Ack{CommandID: free.ID(), Stage: ack.Started, EndsIn: uint64(ack.MaxEndsIn.Milliseconds()) + 1})
			w.check(errors.Is(transport.AckError(err, 0), transport.ErrInvalid), "a run that ends in more than %s is answered with %v", ack.MaxEndsIn, err)
			for _, r := range []*controller.Receipt{silent, free} {
				say(other, r.ID(), ack.Ack{Stage: ack.Succeeded})
			}
		},
	},
}
