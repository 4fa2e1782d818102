package controller_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

const day = 24 * time.Hour

// A VM that was deleted after it had started a command: all that waits for it ends, for those who wait and who cancel, too.
func TestAbsence(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		started, received := w.send("vm-1", command.Options{}), w.send("vm-1", command.Options{})
		w.receive(link, 2)
		w.ack(link, started.ID(), ack.Started)
		w.ack(link, received.ID(), ack.Received)
		require.NoError(w, link.Close())
		queued, never := w.send("vm-1", command.Options{}), w.send("vm-0", command.Options{})
		_, err := w.c.Cancel(w.Context(), started.ID(), "")
		require.NoError(w, err)
		waiting := w.waits(started)

		time.Sleep(7*day - time.Minute)
		for _, r := range []*controller.Receipt{started, received, queued, never} {
			require.False(w, w.stage(r.ID()).Final())
		}
		time.Sleep(2 * time.Hour)
		w.ended(started.ID(), ack.Interrupted, ledger.CodeVMGone)
		w.ended(received.ID(), ack.Dead, ledger.CodeVMGone)
		w.ended(never.ID(), ack.Dead, ledger.CodeVMGone)
		require.Equal(w, "nothing was heard of the VM for 168h0m0s", w.ended(queued.ID(), ack.Dead, ledger.CodeVMGone).Reason)
		require.Equal(w, ack.Interrupted, (<-waiting).State.Stage)
		require.Empty(w, w.listed())
		page, err := w.c.Unsettled(w.Context(), controller.Query{})
		require.NoError(w, err)
		require.Empty(w, page.Items, "the cancel command neither")
	})
}

// Whoever is there is not absent, however long its commands take, and a command has as much time as any from when it was
// sent.
func TestNotAbsent(t *testing.T) {
	run(t, controller.Options{Absence: 10 * time.Hour}, func(w *world) {
		attached := w.dial(hello("a"))
		running := w.send("vm-1", command.Options{})
		w.receive(attached, 1)
		w.ack(attached, running.ID(), ack.Started)
		polled := w.send("vm-2", command.Options{})
		poll := func() {
			l := w.dial(transport.Hello{VM: "vm-2", Uplink: true})
			time.Sleep(time.Second)
			require.NoError(w, l.Close())
		}
		for range 10 {
			poll()
			time.Sleep(8 * time.Hour)
		}
		late := w.send("vm-3", command.Options{})
		time.Sleep(8 * time.Hour)
		require.Equal(w, ack.Started, w.stage(running.ID()))
		require.Equal(w, ack.Queued, w.stage(late.ID()))
		w.ended(polled.ID(), ack.Dead, ledger.CodeVMGone)
		require.NoError(w, attached.Close())
	})
	run(t, controller.Options{Absence: -1}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		time.Sleep(1000 * day)
		require.Equal(w, ack.Queued, w.stage(r.ID()))
	})
}

// The last sign of life counts, also where it is too recent for the ledger to know it.
func TestAbsenceIsFromTheLastSignOfLife(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{})
		w.receive(link, 1)
		w.ack(link, r.ID(), ack.Started)
		time.Sleep(5 * time.Hour)
		require.NoError(w, link.Close())
		time.Sleep(7*day - time.Minute)
		require.Equal(w, ack.Started, w.stage(r.ID()))
		time.Sleep(2 * time.Hour)
		w.ended(r.ID(), ack.Interrupted, ledger.CodeVMGone)
	})
}

// A controller that was down for longer than the absence declares nobody gone before those who are there have come back.
func TestAbsenceAfterALongStop(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		there, gone := w.send("vm-1", command.Options{}), w.send("vm-2", command.Options{})
		w.restart(8*day, controller.Options{})
		time.Sleep(day - time.Hour)
		require.Equal(w, ack.Queued, w.stage(there.ID()))
		require.Equal(w, ack.Queued, w.stage(gone.ID()))
		link := w.dial(hello("a"))
		require.Equal(w, there.ID(), w.receive(link, 1)[0].ID)
		time.Sleep(3 * time.Hour)
		require.False(w, w.stage(there.ID()).Final())
		w.ended(gone.ID(), ack.Dead, ledger.CodeVMGone)
		require.NoError(w, link.Close())
	})
}

// A controller that is restarted more often than the absence is long finds out as well, and a VM whose command has run for
// longer than that is absent from when it was last heard of.
func TestAbsenceOverRestarts(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		running, queued := w.send("vm-1", command.Options{}), w.send("vm-2", command.Options{})
		w.receive(link, 1)
		w.ack(link, running.ID(), ack.Started)
		for i := range 10 { // it runs for 20 days
			time.Sleep(2 * day)
			if i == 4 {
				w.ended(queued.ID(), ack.Dead, ledger.CodeVMGone)
			}
			require.Equal(w, ack.Started, w.stage(running.ID()))
			require.NoError(w, link.Close())
			w.restart(time.Minute, controller.Options{})
			link = w.dial(hello("a"))
		}
		time.Sleep(2 * day)
		require.NoError(w, link.Close())
		lost := time.Now()
		for time.Since(lost) < 6*day {
			w.restart(time.Minute, controller.Options{})
			time.Sleep(30 * time.Hour)
			require.Equal(w, ack.Started, w.stage(running.ID()), "after %s", time.Since(lost))
		}
		time.Sleep(2 * day)
		w.ended(running.ID(), ack.Interrupted, ledger.CodeVMGone)
	})
}

// A VM of which the memory is shorter than the absence is absent from when it was last heard of, too.
func TestAbsenceBeyondRetention(t *testing.T) {
	run(t, controller.Options{Retention: time.Hour}, func(w *world) {
		link := w.dial(hello("a"))
		running := w.send("vm-1", command.Options{})
		w.receive(link, 1)
		w.ack(link, running.ID(), ack.Started)
		time.Sleep(6 * day)
		require.NoError(w, link.Close())
		time.Sleep(6 * day)
		_, known := w.c.Presence("vm-1")
		require.False(w, known)
		require.Equal(w, ack.Started, w.stage(running.ID()))
		time.Sleep(day + 2*time.Hour)
		e, err := w.c.Receipt(running.ID()).Wait(w.Context())
		if err == nil {
			require.Equal(w, ack.Interrupted, e.State.Stage)
		} else {
			require.ErrorIs(w, err, transport.ErrUnknownCommand, "an hour later it is forgotten")
		}
	})
}
