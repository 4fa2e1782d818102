package controller_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// world is a controller on a ledger in memory, under fake time.
type world struct {
	*testing.T
	c *controller.Controller
	l ledger.Ledger
}

// restart puts another controller in the place of w.c, which is down for a while.
func (w *world) restart(down time.Duration, o controller.Options) {
	w.Helper()
	require.NoError(w, w.c.Close())
	time.Sleep(down)
	w.c = controller.New(w.l, o)
}

func run(t *testing.T, o controller.Options, test func(w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		l := memory.New()
		w := &world{T: t, c: controller.New(l, o), l: l}
		test(w)
		require.NoError(t, w.c.Close())
		require.NoError(t, l.Close())
	})
}

func config(key string) command.UpdateConfig {
	return command.UpdateConfig{ConfigKey: key, ConfigValue: 1}
}

func (w *world) send(vm string, o command.Options) *controller.Receipt {
	w.Helper()
	cmd, err := command.New(config("k"), o)
	require.NoError(w, err)
	r, err := w.c.Send(w.Context(), vm, cmd)
	require.NoError(w, err)
	return r
}

func (w *world) dial(h transport.Hello) transport.Link {
	w.Helper()
	l, err := w.c.Dial(w.Context(), h)
	require.NoError(w, err)
	return l
}

func (w *world) receive(l transport.Link, n int) []transport.Delivery {
	w.Helper()
	var got []transport.Delivery
	for len(got) < n {
		page, err := l.Receive(w.Context())
		require.NoError(w, err)
		got = append(got, page...)
	}
	require.Len(w, got, n)
	return got
}

// quiet requires that nothing is handed out for d.
func (w *world) quiet(l transport.Link, d time.Duration) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	page, err := l.Receive(ctx)
	require.ErrorIs(w, err, context.DeadlineExceeded, "unexpected: %v", ids(page))
}

func (w *world) ack(l transport.Link, id string, stage ack.Stage) {
	w.Helper()
	require.NoError(w, l.Ack(w.Context(), ack.Ack{CommandID: id, Stage: stage}))
}

func (w *world) stage(id string) ack.Stage {
	w.Helper()
	e, err := w.c.Get(w.Context(), id)
	require.NoError(w, err)
	return e.State.Stage
}

func ids(page []transport.Delivery) []string {
	out := make([]string, len(page))
	for i, d := range page {
		out[i] = d.ID
	}
	return out
}

func hello(instance string) transport.Hello { return transport.Hello{VM: "vm-1", Instance: instance} }

func TestSendReceiveAckWait(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{})
		require.Equal(w, ack.Queued, w.stage(r.ID()))
		got := w.receive(link, 1)
		require.Equal(w, r.ID(), got[0].ID)
		require.Equal(w, 1, got[0].Attempt)
		require.False(w, got[0].Started)
		require.Equal(w, ack.Delivered, w.stage(r.ID()))
		go func() {
			time.Sleep(time.Second)
			_ = link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Started})
			time.Sleep(time.Second)
			_ = link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded, Result: []byte(`{"n":1}`)})
		}()
		e, err := r.WaitFor(w.Context(), func(e ledger.Entry) bool { return e.State.Stage == ack.Started })
		require.NoError(w, err)
		require.Equal(w, ack.Started, e.State.Stage)
		e, err = r.Wait(w.Context())
		require.NoError(w, err)
		require.Equal(w, ack.Succeeded, e.State.Stage)
		require.JSONEq(w, `{"n":1}`, string(e.Result))
		stages := []ack.Stage{}
		for _, s := range e.History {
			stages = append(stages, s.Stage)
		}
		require.Equal(w, []ack.Stage{ack.Queued, ack.Delivered, ack.Started, ack.Succeeded}, stages)
		require.NoError(w, link.Close())
	})
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		e, err := r.Wait(ctx)
		require.ErrorIs(w, err, context.DeadlineExceeded)
		require.Equal(w, ack.Queued, e.State.Stage)
		_, err = w.c.Receipt("no such command").Wait(w.Context())
		require.ErrorIs(w, err, transport.ErrUnknownCommand)
	})
}

func TestRedeliveryUntilHeardOf(t *testing.T) {
	run(t, controller.Options{AckDeadline: 10 * time.Second, MaxAttempts: 3}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{})
		first := w.receive(link, 1)[0]
		w.quiet(link, 9*time.Second)
		start := time.Now()
		again := w.receive(link, 1)[0]
		require.Equal(w, time.Second, time.Since(start))
		require.Equal(w, 2, again.Attempt)
		require.Equal(w, first.Cursor, again.Cursor, "a redelivery moves no cursor")

		// Any word starts the deadline anew, also one that says nothing new.
		w.ack(link, r.ID(), ack.Started)
		for range 5 {
			w.quiet(link, 9*time.Second)
			w.ack(link, r.ID(), ack.Started)
		}
		again = w.receive(link, 1)[0]
		require.Equal(w, 3, again.Attempt)
		require.True(w, again.Started)
		for n := range 10 { // what has started is not given up
			require.Equal(w, 4+n, w.receive(link, 1)[0].Attempt)
		}
		w.ack(link, r.ID(), ack.Succeeded)

		// An answer starts the count anew.
		r = w.send("vm-1", command.Options{})
		for range 2 {
			w.receive(link, 2)
			w.ack(link, r.ID(), ack.Received)
		}

		// Silence past the last attempt: given up. A late result lands all the same.
		w.receive(link, 3)
		w.quiet(link, time.Minute)
		e, err := r.Wait(w.Context())
		require.NoError(w, err)
		require.Equal(w, ack.Dead, e.State.Stage)
		require.Contains(w, e.Reason, "3 times")
		require.ErrorIs(w, link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Progress}), transport.ErrCommandDead)
		w.ack(link, r.ID(), ack.Succeeded)
		require.Equal(w, ack.Succeeded, w.stage(r.ID()))
	})
}

func TestWindowAndUrgent(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		h := hello("a")
		h.Window = 2
		link := w.dial(h)
		var sent []string
		for range 4 {
			sent = append(sent, w.send("vm-1", command.Options{}).ID())
		}
		require.Equal(w, sent[:2], ids(w.receive(link, 2)))
		w.quiet(link, time.Second)
		urgent := w.send("vm-1", command.Options{Urgent: true}).ID()
		require.Equal(w, []string{urgent}, ids(w.receive(link, 1)))
		w.ack(link, sent[1], ack.Succeeded)
		require.Equal(w, sent[2:3], ids(w.receive(link, 1)))
	})
}

func TestUrgentOvertakesWhatWaits(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		a := w.send("vm-1", command.Options{}).ID()
		b := w.send("vm-1", command.Options{Urgent: true}).ID()
		c := w.send("vm-1", command.Options{}).ID()
		d := w.send("vm-1", command.Options{Urgent: true}).ID()
		link := w.dial(hello("x"))
		got := w.receive(link, 4)
		require.Equal(w, []string{b, d, a, c}, ids(got))

		// A cut between two of them: exactly the rest comes again.
		for i := range got {
			h := hello("x")
			h.After = got[i].Cursor
			link := w.dial(h)
			if rest := ids(got[i+1:]); len(rest) > 0 {
				require.Equal(w, rest, ids(w.receive(link, len(rest))))
			}
			w.quiet(link, time.Second)
		}
	})
}

func TestResume(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		for range 3 {
			w.send("vm-1", command.Options{})
		}
		first := w.receive(w.dial(hello("a")), 3)

		after := func(c transport.Cursor) transport.Link {
			h := hello("a")
			h.After = c
			return w.dial(h)
		}
		w.quiet(after(first[2].Cursor), time.Second)
		w.quiet(after(first[2].Cursor), time.Second)
		require.Equal(w, ids(first[1:]), ids(w.receive(after(first[0].Cursor), 2)))
		for _, c := range []transport.Cursor{
			"", "nonsense", "other.3.0", transport.Cursor(w.epoch(first[0].Cursor) + ".99.0"),
			transport.Cursor(w.epoch(first[0].Cursor) + ".-1.0"), transport.Cursor(fmt.Sprintf("%0200d", 1)),
		} {
			require.Equal(w, ids(first), ids(w.receive(after(c), 3)), "cursor %q", c)
		}
	})
}

func (w *world) epoch(c transport.Cursor) string {
	for i := range len(c) {
		if c[i] == '.' {
			return string(c[:i])
		}
	}
	w.Fatal("a cursor without an epoch")
	return ""
}

func TestResumeAcrossControllers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := memory.New()
		w := &world{T: t, c: controller.New(l, controller.Options{AckDeadline: 10 * time.Second})}
		first := w.send("vm-1", command.Options{}).ID()
		link := w.dial(hello("a"))
		at := w.receive(link, 1)[0].Cursor
		second := w.send("vm-1", command.Options{}).ID()
		require.NoError(t, w.c.Close())
		_, err := link.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrUnavailable)

		w.c = controller.New(l, controller.Options{AckDeadline: 10 * time.Second})
		h := hello("a")
		h.After = at
		link = w.dial(h)
		require.Equal(t, []string{second}, ids(w.receive(link, 1)), "what had arrived is not replayed")
		// But it is asked after when nothing is heard of it.
		require.ElementsMatch(t, []string{first, second}, ids(w.receive(link, 2)))
		require.NoError(t, w.c.Close())
	})
}

func TestAnonymousPollerGetsACommandOncePerDeadline(t *testing.T) {
	run(t, controller.Options{AckDeadline: 10 * time.Second}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		poll := func() []string {
			l := w.dial(transport.Hello{VM: "vm-1"})
			defer l.Close()
			ctx, cancel := context.WithTimeout(w.Context(), time.Millisecond)
			defer cancel()
			page, err := l.Receive(ctx)
			if err != nil {
				require.ErrorIs(w, err, context.DeadlineExceeded)
			}
			return ids(page)
		}
		require.Equal(w, []string{r.ID()}, poll())
		time.Sleep(5 * time.Second)
		require.Empty(w, poll())
		time.Sleep(5 * time.Second)
		require.Equal(w, []string{r.ID()}, poll())
		w.ack(w.dial(transport.Hello{VM: "vm-1", Uplink: true}), r.ID(), ack.Succeeded)
		time.Sleep(time.Minute)
		require.Empty(w, poll())
	})
}

func TestDeferredKeepsItsPlace(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		h := hello("a")
		h.Window = 2
		link := w.dial(h)
		a := w.send("vm-1", command.Options{}).ID()
		w.receive(link, 1)
		require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: a, Stage: ack.Deferred, RetryAfter: 60}))
		b := w.send("vm-1", command.Options{}).ID()
		w.quiet(link, 59*time.Second)

		// Nor does a new link get it sooner.
		link = w.dial(hello("a"))
		w.quiet(link, 500*time.Millisecond)
		got := w.receive(link, 2)
		require.Equal(w, []string{a, b}, ids(got))
		require.Equal(w, 2, got[0].Attempt)
		w.ack(link, a, ack.Started)
		require.Equal(w, ack.Started, w.stage(a))
	})
}

func TestExpiry(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		offline := w.send("vm-1", command.Options{TTL: time.Minute})
		w.send("vm-2", command.Options{TTL: time.Hour})
		began := time.Now()
		e, err := offline.Wait(w.Context())
		require.NoError(w, err)
		require.Equal(w, ack.Expired, e.State.Stage)
		require.Equal(w, time.Minute, time.Since(began))
		w.quiet(w.dial(hello("a")), time.Second)

		inFlight := w.send("vm-1", command.Options{TTL: time.Minute})
		started := w.send("vm-1", command.Options{TTL: time.Minute})
		link := w.dial(hello("a"))
		w.receive(link, 2)
		w.ack(link, started.ID(), ack.Started)
		time.Sleep(2 * time.Minute)
		require.ErrorIs(w, link.Ack(w.Context(), ack.Ack{CommandID: inFlight.ID(), Stage: ack.Started}), transport.ErrCommandExpired)
		require.Equal(w, ack.Expired, w.stage(inFlight.ID()))
		require.Equal(w, ack.Started, w.stage(started.ID()), "what has started does not expire")
	})
}

func TestCancel(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		queued := w.send("vm-1", command.Options{})
		e, err := w.c.Cancel(w.Context(), queued.ID(), "not needed")
		require.NoError(w, err)
		require.Equal(w, ack.Canceled, e.State.Stage)
		require.Equal(w, "not needed", e.Reason)

		delivered := w.send("vm-1", command.Options{})
		link := w.dial(hello("a"))
		require.Equal(w, []string{delivered.ID()}, ids(w.receive(link, 1)))
		for range 2 { // asking again changes nothing
			e, err = w.c.Cancel(w.Context(), delivered.ID(), "changed my mind")
			require.NoError(w, err)
			require.Equal(w, ack.Delivered, e.State.Stage)
		}
		got := w.receive(link, 1)[0]
		require.Equal(w, command.TypeCancel, got.Type)
		p, err := command.Decode[command.Cancel](got.Command)
		require.NoError(w, err)
		require.Equal(w, delivered.ID(), p.CommandID)
		require.ErrorIs(w, link.Ack(w.Context(), ack.Ack{CommandID: delivered.ID(), Stage: ack.Started}), transport.ErrCommandCanceled)
		w.ack(link, delivered.ID(), ack.Canceled)
		w.ack(link, got.ID, ack.Succeeded)
		w.quiet(link, time.Minute)

		_, err = w.c.Cancel(w.Context(), got.ID, "")
		require.ErrorIs(w, err, transport.ErrInvalid)
		_, err = w.c.Cancel(w.Context(), "nothing", "")
		require.ErrorIs(w, err, transport.ErrUnknownCommand)
	})
}

func TestCancelRunningMayBeRefused(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		link := w.dial(hello("a"))
		w.receive(link, 1)
		w.ack(link, r.ID(), ack.Started)
		_, err := w.c.Cancel(w.Context(), r.ID(), "")
		require.NoError(w, err)
		w.receive(link, 1)
		w.ack(link, r.ID(), ack.Succeeded)
		e, err := r.Wait(w.Context())
		require.NoError(w, err)
		require.Equal(w, ack.Succeeded, e.State.Stage)
		require.NotNil(w, e.Cancel)
	})
}

func TestCanceledAndNeverHeardOfIsNotDeliveredAgain(t *testing.T) {
	run(t, controller.Options{AckDeadline: 10 * time.Second}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		link := w.dial(hello("a"))
		w.receive(link, 1)
		require.NoError(w, link.Close())
		_, err := w.c.Cancel(w.Context(), r.ID(), "gone")
		require.NoError(w, err)
		got := w.receive(w.dial(hello("b")), 1)
		require.Equal(w, command.TypeCancel, got[0].Type)
		require.Equal(w, ack.Canceled, w.stage(r.ID()))
	})
}

func TestSupersede(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		v1 := w.send("vm-1", command.Options{SupersedeKey: "config"})
		v2 := w.send("vm-1", command.Options{SupersedeKey: "config"})
		other := w.send("vm-2", command.Options{SupersedeKey: "config"})
		require.Equal(w, ack.Superseded, w.stage(v1.ID()))
		link := w.dial(hello("a"))
		require.Equal(w, []string{v2.ID()}, ids(w.receive(link, 1)))
		v3 := w.send("vm-1", command.Options{SupersedeKey: "config"})
		require.ErrorIs(w, link.Ack(w.Context(), ack.Ack{CommandID: v2.ID(), Stage: ack.Started}), transport.ErrCommandSuperseded)
		require.Equal(w, []string{v3.ID()}, ids(w.receive(link, 1)))
		require.Equal(w, ack.Queued, w.stage(other.ID()))
	})
}

func TestSendRefusals(t *testing.T) {
	run(t, controller.Options{Limits: ledger.Limits{Commands: 2}}, func(w *world) {
		ctx := w.Context()
		cmd, err := command.New(config("k"), command.Options{IdempotencyKey: "job-7"})
		require.NoError(w, err)
		r1, err := w.c.Send(ctx, "vm-1", cmd)
		require.NoError(w, err)
		require.True(w, r1.Created())
		same, err := command.New(config("k"), command.Options{IdempotencyKey: "job-7"})
		require.NoError(w, err)
		r2, err := w.c.Send(ctx, "vm-1", same)
		require.NoError(w, err)
		require.False(w, r2.Created())
		require.Equal(w, r1.ID(), r2.ID())
		other, err := command.New(config("other"), command.Options{IdempotencyKey: "job-7"})
		require.NoError(w, err)
		_, err = w.c.Send(ctx, "vm-1", other)
		require.ErrorIs(w, err, transport.ErrKeyReused)

		w.send("vm-1", command.Options{})
		third, err := command.New(config("k"), command.Options{})
		require.NoError(w, err)
		_, err = w.c.Send(ctx, "vm-1", third)
		require.ErrorIs(w, err, transport.ErrQueueFull)
		_, err = w.c.Send(ctx, "vm-2", third)
		require.NoError(w, err)

		_, err = w.c.Send(ctx, "", third)
		require.ErrorIs(w, err, transport.ErrInvalid)
		_, err = w.c.Send(ctx, "vm-1", command.Command{})
		require.ErrorIs(w, err, transport.ErrInvalid)
		third.Parameters = command.Parameters(`{"x":"` + string(make([]byte, command.MaxParameters)) + `"}`)
		_, err = w.c.Send(ctx, "vm-3", third)
		require.ErrorIs(w, err, transport.ErrTooLarge)
		late := cmd
		late.ExpiresAt = time.Now().Add(-time.Second)
		_, err = w.c.Send(ctx, "vm-3", late)
		require.ErrorIs(w, err, transport.ErrInvalid)
		late.ID, late.IdempotencyKey, late.TTL = "late", "", time.Minute // which counts from when it is stored
		r, err := w.c.Send(ctx, "vm-3", late)
		require.NoError(w, err)
		e, err := w.c.Get(ctx, r.ID())
		require.NoError(w, err)
		require.Equal(w, time.Now().Add(time.Minute).UTC(), e.Command.ExpiresAt)
		late.TTL = -time.Minute
		_, err = w.c.Send(ctx, "vm-3", late)
		require.ErrorIs(w, err, transport.ErrInvalid)
	})
}

func TestBroadcast(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{RunTimeout: time.Minute})
		require.NoError(w, err)
		receipts, err := w.c.Broadcast(w.Context(), []string{"vm-1", "", "vm-3"}, cmd)
		require.ErrorIs(w, err, transport.ErrInvalid)
		require.Len(w, receipts, 3)
		require.Nil(w, receipts[1])
		require.NotEqual(w, receipts[0].ID(), receipts[2].ID())
		require.Equal(w, ack.Queued, w.stage(receipts[0].ID()))
		require.Equal(w, "vm-3", receipts[2].VM())
		require.Equal(w, cmd.RunTimeout, w.entry(receipts[2].ID()).Command.RunTimeout)
	})
}

func TestAcksFromElsewhere(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		down := w.dial(hello("a"))
		w.receive(down, 1)
		up := w.dial(transport.Hello{VM: "vm-1", Instance: "a", Uplink: true})
		foreign := w.dial(transport.Hello{VM: "vm-2", Uplink: true})
		require.ErrorIs(w, foreign.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}), transport.ErrUnknownCommand)

		err := up.Ack(w.Context(),
			ack.Ack{CommandID: r.ID(), Stage: ack.Started},
			ack.Ack{CommandID: "nothing", Stage: ack.Succeeded},
			ack.Ack{CommandID: r.ID(), Stage: ack.Dead},
			ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded},
		)
		require.NoError(w, transport.AckError(err, 0))
		require.ErrorIs(w, transport.AckError(err, 1), transport.ErrUnknownCommand)
		require.ErrorIs(w, transport.AckError(err, 2), transport.ErrInvalid)
		require.NoError(w, transport.AckError(err, 3))
		require.True(w, transport.Refused(err))
		require.Equal(w, ack.Succeeded, w.stage(r.ID()))
		w.ack(up, r.ID(), ack.Failed) // a second final changes nothing and is no error
		require.Equal(w, ack.Succeeded, w.stage(r.ID()))
		require.NoError(w, up.Close())
		require.ErrorIs(w, up.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}), transport.ErrClosed)
		w.quiet(down, time.Minute)
	})
}

func TestManySendersAndLinks(t *testing.T) {
	l := memory.New()
	c := controller.New(l, controller.Options{})
	const vms, each = 8, 50
	errs := make(chan error, 2*vms)
	for i := range vms {
		vm := fmt.Sprintf("vm-%d", i)
		go func() {
			for range each {
				cmd, err := command.New(config("k"), command.Options{})
				if err == nil {
					_, err = c.Send(t.Context(), vm, cmd)
				}
				if err != nil {
					errs <- err
					return
				}
			}
			errs <- nil
		}()
		go func() {
			link, err := c.Dial(t.Context(), transport.Hello{VM: vm, Instance: "a", Window: 4})
			for n := 0; err == nil && n < each; {
				var page []transport.Delivery
				page, err = link.Receive(t.Context())
				for _, d := range page {
					if err = link.Ack(t.Context(), ack.Ack{CommandID: d.ID, Stage: ack.Succeeded}); err != nil {
						break
					}
					n++
				}
			}
			errs <- errors.Join(err, link.Close())
		}()
	}
	for range 2 * vms {
		require.NoError(t, <-errs)
	}
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, vms)
	for _, p := range fleet {
		require.Zero(t, p.Pending)
		require.True(t, p.Online)
		require.False(t, p.Attached)
	}
	require.NoError(t, c.Close())
}

func TestNothingIsWrittenAfterClose(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{})
		w.receive(link, 1)
		require.NoError(w, w.c.Close())
		err := link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded})
		require.ErrorIs(w, err, transport.ErrUnavailable, "another controller may have the ledger")
		_, err = w.c.Cancel(w.Context(), r.ID(), "")
		require.ErrorIs(w, err, transport.ErrUnavailable)
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.False(w, e.State.Settled())
	})
}

// A secret is there as long as the command may be delivered, and whoever asks for it later gets the rest.
func TestSecretsOfSettledCommands(t *testing.T) {
	t.Parallel()
	own := func(t command.Type, p command.Parameters) command.Parameters {
		if t == "own" {
			return command.Redact(t, p)
		}
		return command.DropSecrets(t, p)
	}
	for typ, p := range map[command.Type]string{
		command.TypeRegisterRunner: `{"registration_token":"s3cret","runner_url":"https://ci.example.com"}`,
		"own":                      `{"key":"s3cret"}`,
	} {
		c := controller.New(memory.New(), controller.Options{Redact: own})
		defer c.Close()
		cmd, err := command.NewRaw(typ, command.Parameters(p), command.Options{})
		require.NoError(t, err)
		r, err := c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		link, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
		require.NoError(t, err)
		defer link.Close()
		page, err := link.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, p, string([]byte(page[0].Parameters)))
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: cmd.ID, Stage: ack.Deferred, Attempt: 1}))
		page, err = link.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, p, string([]byte(page[0].Parameters)), "it is run again")
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: cmd.ID, Stage: ack.Succeeded, Attempt: 2}))
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.NotContains(t, string([]byte(e.Command.Parameters)), "s3cret")
		again, err := c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		require.False(t, again.Created())
		require.Equal(t, p, string([]byte(page[0].Parameters)), "what was handed out stays whole")
	}
}
