package conformance

import (
	"context"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// notRun are commands that were not run, or of which nobody knows how far they came, as an agent's codes tell.
var notRun = []Scenario{
	{
		Number: 120, Name: "keys-that-are-free",
		Given: "commands under idempotency keys, of which one expires before its VM has a link, one is rejected, and one is rejected by its handler", When: "each is sent again under its key", Then: "the first two are new commands, which come and run, and the third is the one that was rejected",
		Run: func(w *World) {
			w.start(controller.Options{})
			early := w.send("vm", command.Options{IdempotencyKey: "early", TTL: time.Millisecond})
			w.settled(early, ack.Expired)
			again := w.anew("early", early)
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			w.check(l.receive(1)[0].ID == again.ID(), "another command came than what was sent anew")
			l.mustSay(again.ID(), ack.Succeeded)
			w.settled(again, ack.Succeeded)
			w.taken("early", again)

			rejected := w.send("vm", command.Options{IdempotencyKey: "rejected"})
			l.receive(1)
			l.mustSay(rejected.ID(), ack.Rejected)
			again = w.anew("rejected", rejected)
			w.check(l.receive(1)[0].ID == again.ID(), "another command came than what was sent anew")
			err := l.Ack(w.ctx, ack.Ack{CommandID: again.ID(), Stage: ack.Rejected, Code: ack.CodeBegun})
			w.ok(err, "say rejected, by the handler")
			e := w.settled(again, ack.Rejected)
			w.check(e.Code == ack.CodeBegun, "its code is %q, want %q", e.Code, ack.CodeBegun)
			w.taken("rejected", again)
		},
	},
	{
		Number: 121, Name: "a-handler-that-panics",
		Given: "an agent whose handler panics at its first command, with what may be a secret", When: "it is sent that, and another", Then: "the first has failed with the code panic and without what the handler has panicked with, and the second is run",
		Run: func(w *World) {
			w.start(controller.Options{})
			first := w.send("vm", command.Options{})
			w.agent("vm", agentOptions{do: func(_ context.Context, job *agent.Job) (any, error) {
				if job.Command().ID == first.ID() {
					panic("s3cret")
				}
				return nil, nil
			}})
			e := w.settled(first, ack.Failed)
			w.check(e.Code == ack.CodePanic, "its code is %q, want %q", e.Code, ack.CodePanic)
			w.check(!strings.Contains(e.Reason, "s3cret"), "it says what the handler has panicked with: %s", e.Reason)
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
}

// anew sends again under a key that has to be free.
func (w *World) anew(key string, before *controller.Receipt) *controller.Receipt {
	r := w.send("vm", command.Options{IdempotencyKey: key})
	w.check(r.Created(), "the key %s is not free", key)
	w.check(r.ID() != before.ID(), "it is the command of before")
	return r
}

// taken sends again under a key that has to be that of a command.
func (w *World) taken(key string, by *controller.Receipt) {
	r, err := w.controller.Send(w.ctx, "vm", w.config(command.Options{IdempotencyKey: key}))
	w.ok(err, "send again")
	w.check(!r.Created() && r.ID() == by.ID(), "the key %s is that of %s, want %s", key, r.ID(), by.ID())
}
