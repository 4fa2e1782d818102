package conformance

import (
	"fmt"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// arrival is what a path does to commands and their answers, which is not to be laid on the commands, and where it is.
var arrival = []Scenario{
	{
		Number: 101, Name: "commands-swallowed", NeedsWire: true,
		Given: "an agent behind something that swallows what the controller sends, on one connection after the other", When: "a command is delivered more often than it may without an answer",
		Then: "it is not given up, and runs once when it arrives",
		Run:  func(w *World) { w.swallow(fault.ToClient) },
	},
	{
		Number: 102, Name: "answers-swallowed", NeedsWire: true,
		Given: "an agent behind something that swallows what the agent sends, on one connection after the other", When: "a command is delivered more often than it may without an answer",
		Then: "it is not given up, and runs once",
		Run:  func(w *World) { w.swallow(fault.ToServer) },
	},
	{
		Number: 103, Name: "undeliverable", NeedsWire: true,
		Given: "something on the way that ends a connection which is to carry much at once", When: "a large command is sent between small ones",
		Then: "it alone is dead, as undeliverable, with its size and the path; those behind it arrive",
		Run: func(w *World) {
			w.start(controller.Options{MaxAttempts: 3, Access: unbounded})
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			for _, p := range w.env.proxies {
				p.Limit(fault.ToClient, 12<<10)
			}
			before := w.send("vm", command.Options{})
			const size = 200_000
			cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", size)}, command.Options{})
			w.ok(err, "make a command")
			large := w.sendCommand("vm", cmd)
			behind := []*controller.Receipt{w.send("vm", command.Options{}), w.send("vm", command.Options{Urgent: true}), w.send("vm", command.Options{})}
			w.settled(before, ack.Succeeded)
			e := w.settled(large, ack.Dead)
			via := e.Unheard.Via
			w.check(e.Code == ledger.CodeUndeliverable, "it is dead as %q: %s", e.Code, e.Reason)
			w.check(via != "" && strings.Contains(e.Reason, via) && strings.Contains(e.Reason, fmt.Sprint(len(cmd.Parameters))), "of the path %q the reason is %q", via, e.Reason)
			for _, r := range behind {
				w.settled(r, ack.Succeeded)
			}
			w.check(w.runs(large.ID()) == 0, "what did not arrive ran")
		},
	},
	{
		Number: 111, Name: "killed-often",
		Given: "an agent without a journal that is killed whenever it has got a command, and a controller that is restarted now and then", When: "that happens more often than a command may come without an answer",
		Then: "it is not given up",
		Run: func(w *World) {
			o := controller.Options{MaxAttempts: 3, Access: unbounded}
			w.start(o)
			r := w.send("vm", command.Options{})
			for i := range 12 {
				if i%5 == 4 {
					w.start(o)
				}
				l := w.dial(transport.Hello{VM: "vm", Instance: fmt.Sprint("process ", i)})
				d := l.receive(1)[0]
				w.check(d.ID == r.ID() && d.Attempt == i+1, "%s came as attempt %d, want %d", d.ID, d.Attempt, i+1)
				l.Close()
			}
			w.agent("vm", agentOptions{})
			w.settled(r, ack.Succeeded)
		},
	},
}

// swallow has a command delivered again and again while its path swallows all that goes one way.
func (w *World) swallow(d fault.Direction) {
	w.start(controller.Options{AckDeadline: short / 3, MaxAttempts: 3, Access: unbounded})
	w.agent("vm", agentOptions{})
	w.settled(w.send("vm", command.Options{}), ack.Succeeded)
	mute := func() {
		for _, p := range w.env.proxies {
			p.Mute(d)
		}
	}
	mute()
	r := w.send("vm", command.Options{})
	for end := time.Now().Add(2 * w.subject.Facts.DeadAfter); time.Now().Before(end); {
		time.Sleep(short)
		if e := w.get(r); e.State.Settled() { // a connection that was opened meanwhile may have passed all of it
			break
		}
		mute()
	}
	e := w.settled(r, ack.Succeeded)
	w.check(e.State.Attempt > 0 && w.runs(r.ID()) == 1, "after attempt %d it ran %d times", e.State.Attempt, w.runs(r.ID()))
}
