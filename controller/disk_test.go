package controller_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
)

// What an agent defers for want of disk is shown with its VM, until it has received or started something, or another process
// has dialled.
func TestNoDisk(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", command.Options{})
		w.receive(link, 1)
		full := func() {
			w.Helper()
			e, err := w.c.Get(w.Context(), r.ID())
			require.NoError(w, err)
			require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Deferred, Attempt: e.State.Attempt + 1, Code: ack.CodeNoDisk, RetryAfter: 1000}))
			require.True(w, w.presence().NoDisk)
		}
		full()
		next := w.send("vm-1", command.Options{Urgent: true})
		w.receive(link, 1)
		w.ack(link, next.ID(), ack.Received)
		require.False(w, w.presence().NoDisk)
		full()
		again := w.dial(hello("a"))
		require.True(w, w.presence().NoDisk, "it is the same process")
		newer := w.dial(hello("b"))
		require.False(w, w.presence().NoDisk)
		require.NoError(w, again.Close())
		require.NoError(w, newer.Close())
		require.NoError(w, link.Close())
	})
}
