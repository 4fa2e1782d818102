package conformance

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

var lifecycle = []Scenario{
	{
		Number: 48, Name: "drain-race",
		Given: "commands that are sent while an agent stops", When: "another takes its place", Then: "each is served or handed on, and none is lost",
		Run: func(w *World) {
			w.start(controller.Options{})
			dir := w.tempDir()
			o := agentOptions{Options: agent.Options{Journal: dir}}
			var rs []*controller.Receipt
			for range 4 {
				a := w.agent("vm", o)
				for n := range 20 {
					rs = append(rs, w.send("vm", command.Options{}))
					if n == 10 {
						a.stop()
					}
				}
				w.ok(a.ended(), "run")
			}
			w.agent("vm", o)
			for _, r := range rs {
				// One that was in its handler when the agent stopped may say so.
				e := w.settledAny(r)
				w.check(e.State.Stage == ack.Succeeded || e.State.Stage == ack.Interrupted, "%s is %s", r.ID(), e.State.Stage)
			}
		},
	},
	{
		Number: 49, Name: "same-agent-again",
		Given: "an agent that was stopped", When: "it starts again under the same instance", Then: "it goes on, and nobody is fenced",
		Run: func(w *World) {
			w.start(controller.Options{})
			o := agentOptions{Options: agent.Options{Instance: "same"}}
			for range 3 {
				a := w.agent("vm", o)
				w.settled(w.send("vm", command.Options{}), ack.Succeeded)
				w.ok(a.halt(), "run")
			}
			p, _ := w.controller.Presence("vm")
			w.check(len(p.Fenced) == 0, "fenced: %v", p.Fenced)
		},
	},
	{
		Number: 110, Name: "clock-skew",
		Given: "an agent on another machine", When: "it dials", Then: "how far its clock is ahead is known",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			p, _ := w.controller.Presence("vm")
			skew := time.Duration(p.ClockSkew)
			w.check(skew.Abs() < time.Hour, "the skew of one clock is %s", skew)
			w.check(skew != 0 || p.Transport == "", "the skew is not known over %s", p.Transport)
		},
	},
	{
		Number: 50, Name: "duplicate-id",
		Given: "two clones of one VM", When: "the second dials", Then: "the first is told and stops, both are reported, and the second gets the commands",
		Run: func(w *World) {
			w.start(controller.Options{})
			ctx, cancel := context.WithCancel(w.ctx)
			defer cancel()
			notices := w.controller.Watch(ctx)
			first := w.agent("vm", agentOptions{Options: agent.Options{Instance: "first"}})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			second := w.agent("vm", agentOptions{Options: agent.Options{Instance: "second"}})
			w.is(first.ended(), transport.ErrSuperseded, "the run of the first")
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			p, _ := w.controller.Presence("vm")
			w.check(p.Instance == second.Instance() && len(p.Fenced) == 1 && p.Fenced[0] == "first", "presence is %+v", p)
			for {
				select {
				case n := <-notices:
					if n.Kind == controller.NoticeFenced {
						w.check(n.Old == "first" && n.New == "second", "the notice is %+v", n)
						return
					}
				case <-time.After(patience):
					w.fail("no notice of the fencing")
				}
			}
		},
	},
	{
		Number: 51, Name: "close-concurrent",
		Given: "a link in use", When: "ten goroutines close it", Then: "all return, and every call ends",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			calls := make(chan error, 1)
			go func() {
				_, err := l.Receive(context.Background())
				calls <- err
			}()
			var closing sync.WaitGroup
			for range 10 {
				closing.Go(func() { l.Close() })
			}
			closing.Wait()
			select {
			case err := <-calls:
				w.check(err != nil, "Receive returned nothing and no error")
			case <-time.After(patience):
				w.fail("Receive does not end")
			}
			w.check(l.say("x", ack.Succeeded) != nil, "an ack on a closed link was recorded")
			w.check(l.Report(w.ctx, event.Event{Type: "x"}) != nil, "a report on a closed link was taken")
			w.until("vm", "detached", func(p controller.Presence) bool { return !p.Attached })
		},
	},
	{
		Number: 52, Name: "ctx-cancel",
		Given: "calls that wait", When: "their contexts end", Then: "they return, and the link lives",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			ctx, cancel := context.WithCancel(w.ctx)
			calls := make(chan error, 1)
			go func() {
				_, err := l.Receive(ctx)
				calls <- err
			}()
			cancel()
			w.is(<-calls, context.Canceled, "receive")
			_, err := l.Receive(ctx)
			w.is(err, context.Canceled, "receive")
			w.is(l.Ack(ctx, ack.Ack{CommandID: "x", Stage: ack.Succeeded}), context.Canceled, "ack")
			w.is(l.Report(ctx), context.Canceled, "report")
			_, err = w.client.Dial(ctx, transport.Hello{VM: "vm", Instance: "a"})
			w.is(err, context.Canceled, "dial")
			r := w.send("vm", command.Options{})
			w.check(l.receive(1)[0].ID == r.ID(), "another command came")
			l.mustSay(r.ID(), ack.Succeeded)
		},
	},
	{
		Number: 53, Name: "server-stop-bounded",
		Given: "links that nobody closes", When: "the controller stops", Then: "it returns in bounded time, and the links end",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			done := make(chan error, 1)
			ctx, cancel := context.WithTimeout(w.ctx, short)
			defer cancel()
			go func() { done <- w.controller.Shutdown(ctx, time.Hour) }()
			select {
			case err := <-done:
				if err != nil { // nil: the link is polls, and the controller stopped between two
					w.is(err, context.DeadlineExceeded, "shut down")
				}
			case <-time.After(patience):
				w.fail("the controller does not stop")
			}
			w.check(l.end() != nil, "the link lives")
			w.refusedDial(transport.Hello{VM: "vm", Instance: "a"}, transport.ErrUnavailable)
		},
	},
	{
		Number: 54, Name: "no-goroutine-leak",
		Given: "a transport", When: "a thousand links are opened, used and closed", Then: "no goroutine is left",
		Run: func(w *World) {
			w.start(controller.Options{Access: unbounded})
			var working sync.WaitGroup
			errs := make(chan error, 8)
			for i := range cap(errs) {
				working.Go(func() {
					for range 1000 / cap(errs) {
						l, err := w.client.Dial(w.ctx, transport.Hello{VM: vmName(i), Instance: "a"})
						if err == nil {
							err = errors.Join(l.Report(w.ctx), l.Close())
						}
						if err != nil {
							errs <- err
							return
						}
					}
				})
			}
			working.Wait()
			close(errs)
			for err := range errs {
				w.ok(err, "open, use and close a link")
			}
		},
	},
	{
		Number: 85, Name: "events",
		Given: "an agent that is connected", When: "it reports events", Then: "the controller has taken them, in order and as the VM's own, when Report returns",
		Run: func(w *World) {
			var mu sync.Mutex
			var taken []event.Event
			w.start(controller.Options{OnEvent: func(_ context.Context, vm string, e event.Event) error {
				mu.Lock()
				defer mu.Unlock()
				if vm != "vm" {
					return errors.New("an event of " + vm)
				}
				taken = append(taken, e)
				return nil
			}})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			w.ok(l.Report(w.ctx, event.Event{Type: event.VMStarted, VMID: "another"}, event.Event{Type: event.RunnerRegistered, Metadata: []byte(`{"a":"\u2028"}`)}), "report")
			beat := event.Event{Type: event.TypeHeartbeat, Heartbeat: &event.Heartbeat{MigletState: "idle"}}
			w.ok(l.Report(w.ctx, beat), "report")
			w.is(l.Report(w.ctx, event.Event{}), transport.ErrInvalid, "report an event without a type")
			w.ok(l.Report(w.ctx), "report that the VM is alive")
			mu.Lock()
			defer mu.Unlock()
			w.check(len(taken) == 3, "%d events were taken, want 3", len(taken))
			for i, want := range []string{event.VMStarted, event.RunnerRegistered, event.TypeHeartbeat} {
				w.check(taken[i].Type == want && taken[i].VMID == "vm", "event %d is %s of %s", i, taken[i].Type, taken[i].VMID)
			}
			w.check(taken[2].Heartbeat != nil && taken[2].MigletState == "idle", "the heartbeat has lost its content")
		},
	},
}
