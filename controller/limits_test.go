package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// limited requires that err says so, and when to come back: at least after wait, and not twice as late.
func limited(t require.TestingT, err error, wait time.Duration) {
	require.ErrorIs(t, err, transport.ErrRateLimited)
	require.GreaterOrEqual(t, transport.RetryAfter(err), wait)
	require.Less(t, transport.RetryAfter(err), 2*max(wait, time.Second)+time.Second)
}

// Those who are told at the same time come back at different ones.
func TestTheyComeBackAtDifferentTimes(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{Dials: controller.Rate{PerSecond: 0.01, AtOnce: 1}}}, func(w *world) {
		w.dial(transport.Hello{VM: "vm"}).Close()
		after := map[time.Duration]bool{}
		for i := range 20 {
			_, err := w.c.Dial(w.Context(), transport.Hello{VM: fmt.Sprint("vm-", i)})
			limited(w, err, 100*time.Second)
			after[transport.RetryAfter(err)] = true
		}
		require.Greater(w, len(after), 10)
	})
}

// The least rate is one a day.
func TestOneADay(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{DialsPerVM: controller.Rate{AtOnce: 3}, AcksPerVM: controller.Rate{AtOnce: 100}}}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		l := w.dial(transport.Hello{VM: "vm-1"})
		w.receive(l, 1)
		var acks []ack.Ack
		for range 7 {
			acks = append(acks, ack.Ack{CommandID: r.ID(), Stage: ack.Started})
		}
		require.NoError(w, l.Ack(w.Context(), append(acks, ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded})...)) // comes to nothing
		l.Close()
		for range 2 {
			w.dial(transport.Hello{VM: "vm-1"}).Close()
		}
		_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-1"})
		limited(w, err, 24*time.Hour)
		time.Sleep(24 * time.Hour)
		w.dial(transport.Hello{VM: "vm-1"}).Close()
	})
}

// A VM may dial so often at once, and then at a rate; no other VM is held up.
func TestDialsPerVM(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{DialsPerVM: controller.Rate{PerSecond: 0.5, AtOnce: 3}}}, func(w *world) {
		poll := transport.Hello{VM: "vm-1", Instance: "i"}
		for range 3 {
			w.dial(poll).Close()
		}
		_, err := w.c.Dial(w.Context(), poll)
		limited(w, err, 2*time.Second)
		_, err = w.c.Dial(w.Context(), transport.Hello{VM: "vm-1", Uplink: true})
		limited(w, err, 2*time.Second)
		w.dial(transport.Hello{VM: "vm-2"}).Close()
		time.Sleep(2 * time.Second)
		w.dial(poll).Close()
		_, err = w.c.Dial(w.Context(), poll)
		limited(w, err, 2*time.Second)
		time.Sleep(time.Hour)
		for range 3 { // what is not used does not add up beyond what may be had at once
			w.dial(poll).Close()
		}
		_, err = w.c.Dial(w.Context(), poll)
		limited(w, err, 2*time.Second)
	})
}

// All VMs together may dial at a rate.
func TestDials(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{Dials: controller.Rate{PerSecond: 1, AtOnce: 10}}}, func(w *world) {
		for i := range 10 {
			w.dial(transport.Hello{VM: fmt.Sprint("vm-", i)}).Close()
		}
		_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-10"})
		limited(w, err, time.Second)
		time.Sleep(time.Second)
		w.dial(transport.Hello{VM: "vm-10"}).Close()
	})
}

// A poller that works through its commands, a request each, is held up by no bound on dials.
func TestWorkIsNotHeldAgainstAVM(t *testing.T) {
	rate := controller.Rate{PerSecond: 0.001, AtOnce: 10}
	run(t, controller.Options{Access: controller.Access{Dials: rate, DialsPerVM: rate, AcksPerVM: rate}}, func(w *world) {
		var after transport.Cursor
		for range 100 {
			r := w.send("vm-1", command.Options{})
			l := w.dial(transport.Hello{VM: "vm-1", Instance: "i", After: after})
			after = w.receive(l, 1)[0].Cursor
			require.NoError(w, l.Close())
			for _, s := range []ack.Stage{ack.Received, ack.Started, ack.Succeeded} {
				up := w.dial(transport.Hello{VM: "vm-1", Instance: "i", Uplink: true})
				require.NoError(w, up.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: s}))
				require.NoError(w, up.Close())
			}
		}
	})
}

// What it does over a link that stays is no reason for more dials.
func TestWorkOverALinkEarnsNoDials(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{DialsPerVM: controller.Rate{PerSecond: 0.001, AtOnce: 5}}}, func(w *world) {
		for range 4 {
			w.dial(transport.Hello{VM: "vm-1"}).Close()
		}
		l := w.dial(transport.Hello{VM: "vm-1"})
		for range 3 {
			r := w.send("vm-1", command.Options{})
			w.receive(l, 1)
			require.NoError(w, l.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
		}
		require.NoError(w, l.Close())
		_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-1"})
		require.ErrorIs(w, err, transport.ErrRateLimited)
	})
}

// Acks that end nothing are measured. Who sends too many loses the link, is kept out for a while, and has had
// recorded what was recorded.
func TestAcksPerVM(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{AcksPerVM: controller.Rate{PerSecond: 1, AtOnce: 10}}}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		l := w.dial(transport.Hello{VM: "vm-1"})
		defer l.Close()
		w.receive(l, 1)
		for range 10 {
			require.NoError(w, l.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Started}))
		}
		limited(w, l.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}, ack.Ack{CommandID: "x", Stage: ack.Failed},
			ack.Ack{CommandID: "x", Stage: ack.Failed}, ack.Ack{}, ack.Ack{}, ack.Ack{}, ack.Ack{}, ack.Ack{}, ack.Ack{}), time.Second)
		_, err := l.Receive(w.Context())
		limited(w, err, time.Second)
		e, err := r.Wait(w.Context())
		require.NoError(w, err)
		require.Equal(w, ack.Succeeded, e.State.Stage)
		_, err = w.c.Dial(w.Context(), transport.Hello{VM: "vm-1"})
		limited(w, err, time.Second)
		w.dial(transport.Hello{VM: "vm-2"}).Close()
		time.Sleep(transport.RetryAfter(err))
		w.dial(transport.Hello{VM: "vm-1"}).Close()
	})
}

// So are acks of which nothing gets as far as the ledger.
func TestNonsensePerVM(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{AcksPerVM: controller.Rate{PerSecond: 1, AtOnce: 10}}}, func(w *world) {
		l := w.dial(transport.Hello{VM: "vm-1"})
		defer l.Close()
		for range 10 {
			require.ErrorIs(w, l.Ack(w.Context(), ack.Ack{}), transport.ErrInvalid)
		}
		limited(w, l.Ack(w.Context(), ack.Ack{}), time.Second)
		_, err := l.Receive(w.Context())
		limited(w, err, time.Second)
	})
}

// Events over the rate are refused, and the link lives, unless it is refused too much.
func TestEventsPerVM(t *testing.T) {
	taken := 0
	run(t, controller.Options{Access: controller.Access{
		EventsPerVM: controller.Rate{PerSecond: 1, AtOnce: 3}, AcksPerVM: controller.Rate{PerSecond: 1, AtOnce: 2},
	}}, func(w *world) {
		l := w.dial(transport.Hello{VM: "vm-1"})
		defer l.Close()
		e := event.Event{Type: "e"}
		for range 4 {
			if l.Report(w.Context(), e) == nil {
				taken++
			}
		}
		limited(w, l.Report(w.Context(), e), time.Second)
		time.Sleep(time.Second)
		require.NoError(w, l.Report(w.Context(), e))
		require.NoError(w, l.Ack(w.Context()), "it lives")
		for range 3 {
			limited(w, l.Report(w.Context(), e), 0)
		}
		_, err := l.Receive(w.Context())
		limited(w, err, time.Second)

		many := w.dial(transport.Hello{VM: "vm-2"})
		defer many.Close()
		require.NoError(w, many.Report(w.Context(), e, e, e, e, e))
		time.Sleep(time.Second)
		limited(w, many.Report(w.Context(), e), time.Second)
	})
	require.Equal(t, 4, taken, "what may be had at once, and the one under way")
}

func TestLinks(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{Links: 3, LinksPerVM: 2}}, func(w *world) {
		a, b := w.dial(transport.Hello{VM: "vm-1", Uplink: true}), w.dial(transport.Hello{VM: "vm-1"})
		_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-1"})
		limited(w, err, time.Second)
		c := w.dial(transport.Hello{VM: "vm-2"})
		_, err = w.c.Dial(w.Context(), transport.Hello{VM: "vm-3"})
		limited(w, err, time.Second)
		require.NoError(w, a.Close())
		require.NoError(w, a.Close(), "again, and it does not count twice")
		d := w.dial(transport.Hello{VM: "vm-1"})
		for _, l := range []transport.Link{b, c, d} {
			require.NoError(w, l.Close())
		}
		first := w.dial(transport.Hello{VM: "vm-4", Instance: "a"})
		newer := w.dial(transport.Hello{VM: "vm-4", Instance: "b"})
		require.NoError(w, newer.Report(w.Context()))
		require.NoError(w, newer.Close())
		for range 5 { // a dial that fails leaves nothing behind
			_, err = w.c.Dial(w.Context(), transport.Hello{VM: "vm-4", Instance: "a"})
			require.ErrorIs(w, err, transport.ErrSuperseded)
		}
		w.dial(transport.Hello{VM: "vm-4", Instance: "b"}).Close()
		require.NoError(w, first.Close())
	})
	run(t, controller.Options{Access: controller.Access{LinksPerVM: 2, Dials: controller.Rate{PerSecond: 1, AtOnce: 1}}}, func(w *world) {
		w.dial(transport.Hello{VM: "vm-1"}).Close()
		for range 5 { // nor does one that all VMs together are too many for
			_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-1"})
			limited(w, err, time.Second)
		}
		time.Sleep(time.Second)
		w.dial(transport.Hello{VM: "vm-1"}).Close()
	})
}

// VMs are remembered up to a number, and for as long as commands are; one with a link for as long as that.
func TestVMsAreForgotten(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{VMs: 3}, Retention: time.Hour}, func(w *world) {
		stays := w.dial(transport.Hello{VM: "vm-1"})
		w.dial(transport.Hello{VM: "vm-2"}).Close()
		posting := w.dial(transport.Hello{VM: "vm-3", Uplink: true})
		_, err := w.c.Dial(w.Context(), transport.Hello{VM: "vm-4"})
		limited(w, err, time.Second)
		r := w.send("vm-2", command.Options{})
		time.Sleep(time.Hour / 2)
		_, known := w.c.Presence("vm-2")
		require.True(w, known, "it has not been away for long")
		time.Sleep(3 * time.Hour)
		_, known = w.c.Presence("vm-3")
		require.True(w, known, "a link of it is open")
		require.NoError(w, posting.Close())
		_, known = w.c.Presence("vm-2")
		require.False(w, known)
		p, known := w.c.Presence("vm-1")
		require.True(w, known)
		require.True(w, p.Attached)
		back := w.dial(transport.Hello{VM: "vm-2"})
		require.Equal(w, r.ID(), w.receive(back, 1)[0].ID, "its commands are not forgotten")
		require.NoError(w, back.Close())
		require.NoError(w, stays.Close())
	})
}

// A negative number is no bound.
func TestNoBounds(t *testing.T) {
	run(t, controller.Options{Access: controller.Unlimited()}, func(w *world) {
		l := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		for range 10_000 {
			require.NoError(w, l.Report(w.Context(), event.Event{Type: "e"}))
			require.ErrorIs(w, l.Ack(w.Context(), ack.Ack{}), transport.ErrInvalid)
			w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		}
	})
}
