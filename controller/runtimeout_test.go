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

// An agent that says nothing of how a limited run ended is not waited for: by its limit, its grace and 30 s after the run
// began that is concluded. Its own word counts all the same.
func TestOverdueRun(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		time.Sleep(time.Minute) // the controller looks again in an hour
		link := w.dial(hello("a"))
		limited, free := w.send("vm-1", command.Options{RunTimeout: time.Minute}), w.send("vm-1", command.Options{})
		got := w.receive(link, 2)
		require.Equal(w, time.Minute, time.Duration(got[0].RunTimeout))
		require.Zero(w, got[1].RunTimeout)
		w.ack(link, limited.ID(), ack.Started)
		w.ack(link, free.ID(), ack.Started)
		waiting := w.waits(limited)
		for range 9 { // that it runs does not prolong it
			time.Sleep(10 * time.Second)
			w.ack(link, limited.ID(), ack.Started)
			w.ack(link, limited.ID(), ack.Progress)
		}
		time.Sleep(10*time.Second - time.Millisecond)
		require.Equal(w, ack.Progress, w.stage(limited.ID()))
		time.Sleep(2 * time.Millisecond)
		e := w.ended(limited.ID(), ack.Failed, ack.CodeRunTimeout)
		require.Contains(w, e.Reason, "the run was to have ended by ")
		require.Equal(w, ack.CodeRunTimeout, (<-waiting).Code)
		err := link.Ack(w.Context(), ack.Ack{CommandID: limited.ID(), Stage: ack.Progress})
		require.ErrorIs(w, err, transport.ErrCommandDead)
		require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: limited.ID(), Stage: ack.Failed, Code: ack.CodeRunTimeout, Reason: "hangs"}))
		require.Equal(w, ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}, w.entry(limited.ID()).State)
		require.Equal(w, "hangs", w.entry(limited.ID()).Reason)
		w.ack(link, limited.ID(), ack.Succeeded)
		require.Equal(w, ack.State{Stage: ack.Succeeded, Attempt: 1}, w.entry(limited.ID()).State)
		time.Sleep(3 * time.Hour)
		require.Equal(w, ack.Started, w.stage(free.ID()), "it has no limit")
	})
}

// The limit counts from the start of each run, and as the agent has it where that says so.
func TestEachRunHasItsLimit(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{RunTimeout: time.Minute})
		w.receive(link, 1)
		say := func(a ack.Ack) {
			a.CommandID = r.ID()
			require.NoError(w, link.Ack(w.Context(), a))
		}
		say(ack.Ack{Stage: ack.Started, Attempt: 1})
		time.Sleep(99 * time.Second)
		say(ack.Ack{Stage: ack.Deferred, Attempt: 1, RetryAfter: 3600})
		require.Zero(w, w.entry(r.ID()).RunEnds)
		time.Sleep(time.Hour - time.Second)
		say(ack.Ack{Stage: ack.Started, Attempt: 2, EndsIn: 30_000})
		time.Sleep(60*time.Second - time.Millisecond)
		require.Equal(w, ack.Started, w.stage(r.ID()))
		time.Sleep(2 * time.Millisecond)
		w.ended(r.ID(), ack.Failed, ack.CodeRunTimeout)
	})
}

// A run that was to end while there was no controller could not be spoken of.
func TestOverdueRunOverARestart(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		early, late := w.send("vm-1", command.Options{RunTimeout: time.Minute}), w.send("vm-1", command.Options{RunTimeout: time.Hour})
		w.receive(link, 2)
		w.ack(link, early.ID(), ack.Started)
		w.ack(link, late.ID(), ack.Started)
		w.restart(10*time.Minute, controller.Options{})
		time.Sleep(ledger.RunSlack - time.Millisecond)
		require.Equal(w, ack.Started, w.stage(early.ID()))
		time.Sleep(2 * time.Millisecond)
		w.ended(early.ID(), ack.Failed, ack.CodeRunTimeout)
		time.Sleep(50*time.Minute + 10*time.Second - 2*time.Millisecond)
		require.Equal(w, ack.Started, w.stage(late.ID()))
		time.Sleep(2 * time.Millisecond)
		w.ended(late.ID(), ack.Failed, ack.CodeRunTimeout)
	})
}

func (w *world) entry(id string) ledger.Entry {
	w.Helper()
	e, err := w.c.Get(w.Context(), id)
	require.NoError(w, err)
	return e
}
