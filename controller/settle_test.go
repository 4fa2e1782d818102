package controller_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// What is settled ends for all who wait, frees its place, and may not start any more.
func TestSettle(t *testing.T) {
	run(t, controller.Options{Window: 1}, func(w *world) {
		link := w.dial(hello("a"))
		running, next, queued := w.send("vm-1", command.Options{}), w.send("vm-1", command.Options{}), w.send("vm-1", command.Options{})
		w.receive(link, 1)
		w.ack(link, running.ID(), ack.Started)
		w.quiet(link, time.Second)
		waiting := w.waits(running)

		e, err := w.c.Settle(w.Context(), running.ID(), "", "the disk is gone")
		require.NoError(w, err)
		require.Equal(w, ack.Dead, e.State.Stage)
		e = w.ended(running.ID(), ack.Dead, ledger.CodeSettled)
		require.Equal(w, "the disk is gone", e.Reason)
		require.Equal(w, ack.Dead, (<-waiting).State.Stage)
		require.Equal(w, next.ID(), w.receive(link, 1)[0].ID, "its place is free")
		require.ErrorIs(w, link.Ack(w.Context(), ack.Ack{CommandID: running.ID(), Stage: ack.Progress}), transport.ErrCommandDead)

		// What waits, and what was delivered.
		for id, stage := range map[string]ack.Stage{queued.ID(): ack.Canceled, next.ID(): ack.Succeeded} {
			_, err = w.c.Settle(w.Context(), id, stage, "")
			require.NoError(w, err)
			w.ended(id, stage, ledger.CodeSettled)
		}
		w.quiet(link, time.Hour)

		_, err = w.c.Settle(w.Context(), running.ID(), ack.Dead, "again")
		require.NoError(w, err, "it may be said again")
		require.Equal(w, "the disk is gone", w.ended(running.ID(), ack.Dead, ledger.CodeSettled).Reason)
		_, err = w.c.Settle(w.Context(), running.ID(), ack.Succeeded, "")
		require.ErrorIs(w, err, transport.ErrInvalid)
		require.ErrorContains(w, err, "has ended before, as dead")

		w.ack(link, running.ID(), ack.Failed)
		require.Equal(w, ack.Failed, w.stage(running.ID()), "what happened is what happened")
		_, err = w.c.Settle(w.Context(), running.ID(), ack.Dead, "")
		require.ErrorContains(w, err, "has ended before, as failed")
		require.NoError(w, link.Close())
	})
}

func TestSettleInvalid(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		for _, test := range []struct {
			id     string
			stage  ack.Stage
			reason string
			err    error
			says   string
		}{
			{"none", ack.Dead, "", transport.ErrUnknownCommand, ""},
			{r.ID(), ack.Started, "", transport.ErrInvalid, `stage is "started", and has to be a final one: succeeded, failed`},
			{r.ID(), "gone", "", transport.ErrInvalid, `stage is "gone"`},
			{r.ID(), "", strings.Repeat("x", ack.MaxText+1), transport.ErrTooLarge, "reason"},
			{r.ID(), "", "\xff", transport.ErrInvalid, "reason"},
		} {
			_, err := w.c.Settle(w.Context(), test.id, test.stage, test.reason)
			require.ErrorIs(w, err, test.err, "%+v", test)
			require.ErrorContains(w, err, test.says, "%+v", test)
		}
		require.Equal(w, ack.Queued, w.stage(r.ID()))
	})
}
