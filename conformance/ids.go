package conformance

import (
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

var ids = []Scenario{
	{
		Number: 107, Name: "id-used-again",
		Given: "an agent that has run a command, which its controller has forgotten, as after a loss of its ledger", When: "the ID is used for another command, and the command itself is sent again",
		Then: "the other is rejected as id_reused, with what came of the first; the same is answered for; the handler ran once",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{policy: agent.Policy{Confirm: true}})
			created := time.Now().Add(-time.Hour)
			first := w.send("vm", command.Options{ID: "again", CreatedAt: created})
			w.settled(first, ack.Succeeded)
			w.check(!w.send("vm", command.Options{ID: "again", CreatedAt: created}).Created(), "sent again it is another command")
			_, err := w.controller.Send(w.ctx, "vm", w.config(command.Options{ID: "again", CreatedAt: created.Add(time.Millisecond)}))
			w.is(err, transport.ErrIDReused, "use the ID of a command that the controller remembers")
			w.check(strings.Contains(err.Error(), "succeeded"), "the refusal does not say what came of the first: %v", err)

			forgotten := func() {
				_, err := w.ledger.Prune(w.ctx, time.Now().Add(time.Hour), 1000)
				w.ok(err, "prune the ledger")
				w.sent = nil
			}
			lost := func() {
				w.newLedger()
				w.start(controller.Options{})
			}
			for i, forget := range []func(){forgotten, forgotten, lost} {
				forget()
				o := command.Options{ID: "again"} // when it was created the ledger says
				if i == 1 {
					o.CreatedAt = created.Add(time.Second)
				}
				e := w.settled(w.send("vm", o), ack.Rejected)
				w.check(e.Code == agent.CodeIDReused && strings.Contains(e.Reason, string(ack.Succeeded)), "rejected as %q: %s", e.Code, e.Reason)
			}
			forgotten()
			e := w.settled(w.send("vm", command.Options{ID: "again", CreatedAt: created}), ack.Succeeded)
			w.check(w.runs("again") == 1, "it ran %d times", w.runs("again"))
			w.check(ledger.NewEntry("vm", 1, *e.Command, time.Now()).Command.CreatedAt.Equal(command.Created(created)), "it was created at %s, and became %s", created, e.Command.CreatedAt)
		},
	},
}
