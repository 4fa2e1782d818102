package conformance

import (
	"context"
	"errors"
	"slices"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

var flow = []Scenario{
	{
		Number: 39, Name: "window",
		Given: "an agent that wants three commands in flight", When: "five are sent", Then: "the fourth waits until one is settled; an urgent one does not",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a", Window: 3})
			for range 5 {
				w.send("vm", command.Options{})
			}
			got := l.receive(3)
			l.nothing()
			urgent := w.send("vm", command.Options{Urgent: true})
			w.check(l.receive(1)[0].ID == urgent.ID(), "the urgent command is held back")
			l.mustSay(got[0].ID, ack.Succeeded)
			l.receive(1)
			l.nothing()
		},
	},
	{
		Number: 40, Name: "slow-isolated",
		Given: "a VM that takes commands and never answers", When: "another VM gets fifty", Then: "those are settled",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.dial(transport.Hello{VM: "stalled", Instance: "a"})
			for range 50 {
				w.send("stalled", command.Options{})
			}
			w.agent("vm", agentOptions{})
			for range 50 {
				w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			}
		},
	},
	{
		Number: 41, Name: "slow-evicted-resumes",
		Given: "a link that nobody reads from", When: "it is cut, and the agent is back", Then: "everything that had waited comes",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.dial(transport.Hello{VM: "vm", Instance: "a"})
			var rs []*controller.Receipt
			for range 100 {
				rs = append(rs, w.send("vm", command.Options{}))
			}
			w.cut()
			w.agent("vm", agentOptions{Options: agent.Options{Instance: "a"}})
			for _, r := range rs {
				w.settled(r, ack.Succeeded)
			}
		},
	},
	{
		Number: 42, Name: "fifo-per-vm",
		Given: "three VMs", When: "each gets forty commands, and links are cut in between", Then: "each runs them in the order sent",
		Run: func(w *World) {
			w.start(controller.Options{})
			var rs []*controller.Receipt
			for i := range 3 {
				w.agent(vmName(i), agentOptions{Options: agent.Options{Window: 8}})
			}
			for n := range 40 {
				for i := range 3 {
					rs = append(rs, w.send(vmName(i), command.Options{}))
				}
				if n == 20 {
					w.cut()
				}
			}
			for _, r := range rs {
				w.settled(r, ack.Succeeded)
			}
		},
	},
	{
		Number: 43, Name: "urgent-overtakes",
		Given: "an agent that is busy, with commands that wait", When: "urgent ones are sent", Then: "they run at once, one after the other, beside the one that runs",
		Run: func(w *World) {
			w.start(controller.Options{})
			busyGate, urgentGate := newGate(), newGate()
			w.agent("vm", agentOptions{do: func(ctx context.Context, job *agent.Job) (any, error) {
				if !job.Command().Urgent {
					return busyGate.first(ctx, job)
				}
				return urgentGate.first(ctx, job)
			}})
			busy := w.send("vm", command.Options{})
			busyGate.wait(w)
			normal := w.send("vm", command.Options{})
			w.stage(normal, ack.Received)
			urgent := w.send("vm", command.Options{Urgent: true})
			urgentGate.wait(w)
			behind := w.send("vm", command.Options{Urgent: true})
			w.stage(behind, ack.Received)
			urgentGate.open()
			w.settled(urgent, ack.Succeeded)
			w.settled(behind, ack.Succeeded)
			w.check(w.runs(normal.ID()) == 0, "a command that is not urgent began beside another")
			busyGate.open()
			w.settled(busy, ack.Succeeded)
			w.settled(normal, ack.Succeeded)
			w.mu.Lock()
			defer w.mu.Unlock()
			var order []string
			for _, e := range w.effects {
				order = append(order, e.id)
			}
			w.check(slices.Equal(order, []string{busy.ID(), urgent.ID(), behind.ID(), normal.ID()}), "they began in the order %v", order)
		},
	},
	{
		Number: 44, Name: "supersede",
		Given: "a configuration that waits for a VM", When: "a newer one is sent", Then: "only the newer one runs, and the older says superseded",
		Run: func(w *World) {
			w.start(controller.Options{})
			v1 := w.send("vm", command.Options{SupersedeKey: "config"})
			v2 := w.send("vm", command.Options{SupersedeKey: "config"})
			w.agent("vm", agentOptions{})
			w.settled(v2, ack.Succeeded)
			w.settled(v1, ack.Superseded)
			w.check(w.runs(v1.ID()) == 0, "the older one ran")
		},
	},
	{
		Number: 45, Name: "cancel-queued",
		Given: "a command that waits for a VM", When: "it is cancelled", Then: "it is canceled at once, and never delivered",
		Run: func(w *World) {
			w.start(controller.Options{})
			r := w.send("vm", command.Options{})
			e, err := w.controller.Cancel(w.ctx, r.ID(), "no need")
			w.ok(err, "cancel")
			w.check(e.State.Stage == ack.Canceled, "it is %s", e.State.Stage)
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			l.nothing()
		},
	},
	{
		Number: 46, Name: "cancel-running",
		Given: "handlers that run", When: "their commands are cancelled", Then: "one gives up and is canceled, the other finishes and says so",
		Run: func(w *World) {
			w.start(controller.Options{})
			gives, stays := newGate(), newGate()
			var cause error
			w.agent("gives", agentOptions{do: func(ctx context.Context, _ *agent.Job) (any, error) {
				_, err := gives.hold(ctx)
				cause = context.Cause(ctx)
				return nil, err
			}})
			w.agent("stays", agentOptions{do: func(context.Context, *agent.Job) (any, error) {
				return stays.hold(context.Background())
			}})
			a, b := w.send("gives", command.Options{}), w.send("stays", command.Options{})
			gives.wait(w)
			stays.wait(w)
			for _, r := range []*controller.Receipt{a, b} {
				_, err := w.controller.Cancel(w.ctx, r.ID(), "stop it")
				w.ok(err, "cancel")
			}
			w.settled(a, ack.Canceled)
			w.check(errors.Is(cause, agent.ErrCanceled), "the cause of the handler's context is %v", cause)
			refused := w.cancelOf("stays")
			w.check(!refused.State.Settled(), "the cancel of a running command is %s", refused.State.Stage)
			stays.open()
			w.settled(b, ack.Succeeded)
			w.settled(w.controller.Receipt(refused.Command.ID), ack.Failed)
			w.settled(w.controller.Receipt(w.cancelOf("gives").Command.ID), ack.Succeeded)
		},
	},
	{
		Number: 47, Name: "queue-full",
		Given: "a VM whose queue is full", When: "another command is sent", Then: "it is a typed error, nothing is lost, and there is room when one is settled",
		Run: func(w *World) {
			w.start(controller.Options{Limits: ledger.Limits{Commands: 3}})
			var rs []*controller.Receipt
			for range 3 {
				rs = append(rs, w.send("vm", command.Options{}))
			}
			_, err := w.controller.Send(w.ctx, "vm", w.config(command.Options{}))
			w.is(err, transport.ErrQueueFull, "send one too many")
			w.agent("vm", agentOptions{})
			for _, r := range rs {
				w.settled(r, ack.Succeeded)
			}
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
}

// cancelOf is the cancel command of a VM.
func (w *World) cancelOf(vm string) ledger.Entry {
	entries, err := w.controller.List(w.ctx, vm, 0, 100)
	w.ok(err, "list")
	for _, e := range entries {
		if e.Command.Type == command.TypeCancel {
			return e
		}
	}
	w.fail("there is no cancel command for %s", vm)
	return ledger.Entry{}
}
