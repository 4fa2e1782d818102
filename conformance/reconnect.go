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
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

var reconnect = []Scenario{
	{
		Number: 26, Name: "cut-mid-frame", NeedsWire: true,
		Given: "a connection", When: "it is cut in the middle of a frame, either way", Then: "the command runs once all the same",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			for _, d := range []fault.Direction{fault.ToClient, fault.ToServer} {
				for _, n := range []int{1, 40, 150} {
					for _, p := range w.env.proxies {
						p.CutAfter(d, n)
					}
					w.settled(w.send("vm", command.Options{}), ack.Succeeded)
				}
			}
		},
	},
	{
		Number: 27, Name: "resume-before-first",
		Given: "an agent that has received commands and settled none", When: "it resumes at an earlier cursor, or at none", Then: "exactly what came after it comes again",
		Run: func(w *World) {
			w.start(controller.Options{})
			for range 3 {
				w.send("vm", command.Options{})
			}
			first := w.dial(transport.Hello{VM: "vm", Instance: "a"}).receive(3)
			again := w.dial(transport.Hello{VM: "vm", Instance: "a"}).receive(3)
			for i := range first {
				w.check(first[i].ID == again[i].ID && again[i].Attempt == first[i].Attempt+1, "delivery %d is %s, attempt %d", i, again[i].ID, again[i].Attempt)
			}
			rest := w.dial(transport.Hello{VM: "vm", Instance: "a", After: first[0].Cursor}).receive(2)
			w.check(rest[0].ID == first[1].ID && rest[1].ID == first[2].ID, "the rest is another")
		},
	},
	{
		Number: 28, Name: "resume-twice-idle",
		Given: "an agent that has received all there is", When: "it resumes twice at its cursor", Then: "nothing is replayed",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.send("vm", command.Options{})
			w.send("vm", command.Options{Urgent: true})
			got := w.dial(transport.Hello{VM: "vm", Instance: "a"}).receive(2)
			for range 2 {
				w.dial(transport.Hello{VM: "vm", Instance: "a", After: got[1].Cursor}).nothing()
			}
		},
	},
	{
		Number: 29, Name: "epoch-change",
		Given: "a cursor of another ledger", When: "an agent resumes at it", Then: "everything unsettled comes",
		Run: func(w *World) {
			w.start(controller.Options{})
			for range 3 {
				w.send("vm", command.Options{})
			}
			old := w.dial(transport.Hello{VM: "vm", Instance: "a"}).receive(3)
			w.newLedger()
			w.start(controller.Options{})
			w.send("vm", command.Options{})
			w.send("vm", command.Options{})
			w.dial(transport.Hello{VM: "vm", Instance: "a", After: old[2].Cursor}).receive(2)
		},
	},
	{
		Number: 30, Name: "half-open", NeedsWire: true,
		Given: "a network that swallows everything without a sign", When: "nothing is heard for as long as the transport states", Then: "both ends notice, and go on when the network is back",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			for _, p := range w.env.proxies {
				p.BlackHole(true)
			}
			err := l.end()
			w.check(!errors.Is(err, transport.ErrClosed), "the link ended with %v", err)
			w.until("vm", "detached", func(p controller.Presence) bool { return !p.Attached })
			for _, p := range w.env.proxies {
				p.BlackHole(false)
			}
			r := w.send("vm", command.Options{})
			w.agent("vm", agentOptions{})
			w.settled(r, ack.Succeeded)
		},
	},
	{
		Number: 86, Name: "idle",
		Given: "a link on which nothing is sent", When: "longer passes than it takes to notice a dead peer", Then: "the same link lives, and brings the next command",
		Run: func(w *World) {
			w.start(controller.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			ctx, cancel := context.WithTimeout(w.ctx, max(w.subject.Facts.DeadAfter*3/2, time.Second))
			defer cancel()
			_, err := l.Receive(ctx)
			w.is(err, context.DeadlineExceeded, "wait without a command")
			r := w.send("vm", command.Options{})
			w.check(l.receive(1)[0].ID == r.ID(), "another command came")
			l.mustSay(r.ID(), ack.Succeeded)
		},
	},
	{
		Number: 32, Name: "storm",
		Given: "twenty agents", When: "all links are cut at once, with commands on their way", Then: "all are back, and nothing is lost or run twice",
		Run: func(w *World) {
			w.start(controller.Options{})
			const agents = 20
			for i := range agents {
				w.agent(vmName(i), agentOptions{})
			}
			for i := range agents {
				w.until(vmName(i), "online", func(p controller.Presence) bool { return p.Online })
			}
			var rs []*controller.Receipt
			for round := range 3 {
				for i := range agents {
					rs = append(rs, w.send(vmName(i), command.Options{}))
				}
				if round == 1 {
					w.cut()
				}
			}
			for _, r := range rs {
				w.settled(r, ack.Succeeded)
			}
		},
	},
	{
		Number: 33, Name: "retry-after",
		Given: "a controller that says when to come back", When: "an agent dials again", Then: "it is not sooner than that",
		Run: func(w *World) {
			w.start(controller.Options{})
			const asked = 2 * short
			var mu sync.Mutex
			var dials []time.Time
			inner := w.front.to
			w.front.to = dialer(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
				mu.Lock()
				defer mu.Unlock()
				if dials = append(dials, time.Now()); len(dials) <= w.dialsPerAttempt() {
					return nil, &transport.Error{Code: transport.CodeUnavailable, RetryAfter: asked}
				}
				return inner.Dial(ctx, h)
			})
			w.agent("vm", agentOptions{})
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
			mu.Lock()
			defer mu.Unlock()
			n := w.dialsPerAttempt()
			gap := dials[n].Sub(dials[n-1])
			w.check(gap >= asked, "dialled again after %s, asked for %s", gap, asked)
		},
	},
	{
		Number: 34, Name: "terminal-code",
		Given: "credentials that were revoked", When: "an agent dials", Then: "it stops, and says why",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.front.to = dialer(func(context.Context, transport.Hello) (transport.Link, error) {
				return nil, transport.Errorf(transport.CodeRevoked, "no more")
			})
			if w.subject.Facts.Untold { // the agent goes on trying
				w.refusedDial(transport.Hello{VM: "vm", Instance: "a"}, transport.ErrRevoked)
				return
			}
			a := w.agent("vm", agentOptions{})
			w.is(a.ended(), transport.ErrRevoked, "run")
		},
	},
	{
		Number: 35, Name: "paced-drain",
		Given: "open links", When: "the controller shuts down", Then: "each is told to come back, at its own time",
		Run: func(w *World) {
			w.start(controller.Options{})
			const links = 8
			ends := make(chan error, links)
			for i := range links {
				l := w.dial(transport.Hello{VM: vmName(i), Instance: "a"})
				go func() {
					defer l.Close()
					for {
						if _, err := l.Receive(w.ctx); err != nil {
							ends <- err
							return
						}
					}
				}()
			}
			ctx, cancel := context.WithTimeout(w.ctx, patience)
			defer cancel()
			w.ok(w.controller.Shutdown(ctx, short), "shut down")
			for range links {
				err := <-ends
				w.is(err, transport.ErrUnavailable, "the end of a link")
				w.check(transport.RetryAfter(err) > 0, "it does not say when to come back")
			}
		},
	},
	{
		Number: 36, Name: "switch-up",
		Given: "an agent on a lesser transport, under load", When: "a better one opens", Then: "it moves up; nothing is lost or run twice",
		Run: func(w *World) {
			w.start(controller.Options{})
			better := &door{inner: w.client, shut: true}
			lesser := &door{inner: w.client}
			w.underLoad(better, lesser, func() {
				better.set(false)
				w.wait("the better transport is used", better.used)
			})
		},
	},
	{
		Number: 37, Name: "switch-down",
		Given: "an agent on the best transport, under load", When: "it breaks and stays shut", Then: "the next one is used; nothing is lost or run twice",
		Run: func(w *World) {
			w.start(controller.Options{})
			better := &door{inner: w.client}
			lesser := &door{inner: w.client}
			w.underLoad(better, lesser, func() {
				better.set(true)
				var last time.Time
				w.wait("the lesser transport is used", func() bool {
					if time.Since(last) > short/3 { // a link that polls has no connection now and then
						w.cut()
						last = time.Now()
					}
					return lesser.used()
				})
			})
		},
	},
	{
		Number: 38, Name: "old-link-death",
		Given: "a link that a newer one of the same agent has replaced", When: "the old one ends", Then: "the new one stays, and gets the commands",
		Run: func(w *World) {
			w.start(controller.Options{})
			old := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			newer := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			if w.keepsLinks() {
				w.is(old.end(), transport.ErrReplaced, "the end of the old link")
			}
			old.Close()
			r := w.send("vm", command.Options{})
			w.check(newer.receive(1)[0].ID == r.ID(), "another command came")
			p, _ := w.controller.Presence("vm")
			w.check(p.Online, "the VM is offline")
		},
	},
}

// dialer is a Transport of a function.
type dialer func(ctx context.Context, h transport.Hello) (transport.Link, error)

func (d dialer) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	return d(ctx, h)
}

// door is a transport that can be shut.
type door struct {
	inner transport.Transport
	mu    sync.Mutex
	shut  bool
	links int
}

func (d *door) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	d.mu.Lock()
	shut := d.shut
	d.mu.Unlock()
	if shut {
		return nil, errors.New("this way is shut")
	}
	l, err := d.inner.Dial(ctx, h)
	if err == nil && !h.Uplink {
		d.mu.Lock()
		d.links++
		d.mu.Unlock()
	}
	return l, err
}

func (d *door) set(shut bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.shut = shut
}

func (d *door) used() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.links > 0
}

// underLoad sends commands to an agent on a Fallback while something is done to it.
func (w *World) underLoad(better, lesser transport.Transport, do func()) {
	f := transport.NewFallback(transport.FallbackOptions{Probe: short / 3, Stable: time.Millisecond},
		transport.Way{Name: "better", Transport: better}, transport.Way{Name: "lesser", Transport: lesser})
	w.agent("vm", agentOptions{via: f, Options: agent.Options{}})
	w.settled(w.send("vm", command.Options{}), ack.Succeeded)
	var rs []*controller.Receipt
	stop := make(chan struct{})
	var sending sync.WaitGroup
	var failure error
	sending.Go(func() {
		defer recovered(&failure)
		for len(rs) < 2000 {
			select {
			case <-stop:
				return
			case <-w.ctx.Done():
				return
			default:
			}
			r := w.send("vm", command.Options{})
			rs = append(rs, r)
			w.settledAny(r)
		}
	})
	do()
	close(stop)
	sending.Wait()
	w.ok(failure, "send under load")
	rs = append(rs, w.send("vm", command.Options{}))
	for _, r := range rs {
		w.settled(r, ack.Succeeded)
	}
}

// wait until a condition holds that nothing signals.
func (w *World) wait(what string, ok func() bool) {
	limit := time.After(patience)
	look := time.NewTicker(5 * time.Millisecond)
	defer look.Stop()
	for !ok() {
		select {
		case <-look.C:
		case <-limit:
			w.fail("it does not come to pass that %s", what)
		}
	}
}

// dialsPerAttempt is how often one attempt of an agent reaches the controller.
func (w *World) dialsPerAttempt() int { return max(w.subject.Facts.DialsPerAttempt, 1) }

// keepsLinks says whether a link of the client half is one link of the controller.
func (w *World) keepsLinks() bool { return !w.subject.Facts.Polls }
