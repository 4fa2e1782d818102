package conformance

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// gone are what is done with commands, and VMs, of which nobody will hear any more.
var gone = []Scenario{
	{
		Number: 113, Name: "settled-by-hand",
		Given: "a command that a VM has begun, with another behind it", When: "it is settled by hand while the VM is attached", Then: "it has ended, the VM may not go on with it, the other comes over the same link, and the VM's own word of the end counts",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a", Window: 1})
			first, second := w.send("vm", command.Options{}), w.send("vm", command.Options{})
			w.check(l.receive(1)[0].ID == first.ID(), "another command came")
			l.mustSay(first.ID(), ack.Started)
			_, err := w.controller.Settle(w.ctx, first.ID(), "", "by hand")
			w.ok(err, "settle")
			e := w.settled(first, ack.Dead)
			w.check(e.Code == ledger.CodeSettled && e.Reason == "by hand", "it has ended with the code %q and the reason %q", e.Code, e.Reason)
			w.check(l.receive(1)[0].ID == second.ID(), "another command came")
			err = l.say(first.ID(), ack.Progress)
			w.check(transport.Refused(err), "to go on is answered with %v", err)
			l.mustSay(first.ID(), ack.Failed)
			w.settled(first, ack.Failed)
			l.mustSay(second.ID(), ack.Succeeded)
			w.settled(second, ack.Succeeded)
		},
	},
	{
		Number: 114, Name: "forgotten-by-force",
		Given: "an agent that runs a command, with another behind it", When: "its VM is forgotten, and that by force", Then: "without force nothing happens; with it the agent stops as revoked, what has begun is interrupted and what has not is dead, and the next agent of the VM runs what is sent to it",
		Run: func(w *World) {
			w.start(controller.Options{})
			began := make(chan struct{})
			a := w.agent("vm", agentOptions{do: func(ctx context.Context, _ *agent.Job) (any, error) {
				close(began)
				<-ctx.Done()
				return nil, ctx.Err()
			}})
			running := w.send("vm", command.Options{})
			<-began
			w.stage(running, ack.Started)
			behind := w.send("vm", command.Options{})
			if !w.subject.Facts.Polls { // else it has no link between two polls
				w.until("vm", "attached", func(p controller.Presence) bool { return p.Attached })
				_, err := w.controller.Forget(w.ctx, "vm", false)
				w.is(err, transport.ErrInvalid, "forget an attached VM")
				w.check(w.get(running).State.Stage == ack.Started, "it is %s", w.get(running).State.Stage)
			}
			w.forgetByForce(a)
			w.is(a.ended(), transport.ErrRevoked, "the end of the agent")
			for r, stage := range map[*controller.Receipt]ack.Stage{running: ack.Interrupted, behind: ack.Dead} {
				w.check(concluded(w.get(r), stage), "it is not %s, vm_gone: %+v", stage, w.get(r).History)
			}
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
	{
		Number: 115, Name: "cursor-of-a-forgotten-vm",
		Given: "a VM that was forgotten, and of whose commands nothing is remembered", When: "it dials with its cursor of before", Then: "it gets what was sent to it since",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			var cursor transport.Cursor
			for range 5 {
				r := w.send("vm", command.Options{})
				cursor = l.receive(1)[0].Cursor
				l.mustSay(r.ID(), ack.Succeeded)
			}
			w.ok(l.Close(), "close the link")
			_, err := w.controller.Forget(w.ctx, "vm", true)
			w.ok(err, "forget")
			_, err = w.ledger.Prune(w.ctx, time.Now().Add(time.Hour), 1000)
			w.ok(err, "prune the ledger")
			w.sent = nil
			vms, err := w.ledger.VMs(w.ctx, ledger.VMQuery{})
			w.ok(err, "list the VMs")
			w.check(len(vms) == 0, "the ledger has rows of %v", vms)
			r := w.send("vm", command.Options{})
			for _, instance := range []string{"a", "b"} {
				again := w.dial(transport.Hello{VM: "vm", Instance: instance, After: cursor})
				w.check(again.receive(1)[0].ID == r.ID(), "another command came")
				w.ok(again.Close(), "close the link")
			}
		},
	},
}

// forgetByForce forgets a VM until its agent has heard of it: one that polls may have no link just then.
func (w *World) forgetByForce(a *testAgent) {
	for limit := time.Now().Add(patience); time.Now().Before(limit); {
		_, err := w.controller.Forget(w.ctx, a.vm, true)
		w.check(err == nil || errors.Is(err, transport.ErrUnknownCommand), "forget by force: %v", err)
		select {
		case <-a.done:
			return
		case <-time.After(quiet):
		}
	}
}

// concluded says whether the controller has given a command up as its VM's, whatever the agent has said since.
func concluded(e ledger.Entry, stage ack.Stage) bool {
	for _, s := range e.History {
		if s.Stage == stage && s.Verdict && s.Code == ledger.CodeVMGone {
			return true
		}
	}
	return false
}
