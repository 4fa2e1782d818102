package controller_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// The dial of a process that was killed arrives after that of the one that lives: it gets what is due, in vain, and
// fences nobody. What it got comes again to the other.
func TestGhostFencesNobody(t *testing.T) {
	run(t, controller.Options{AckDeadline: 30 * time.Second}, func(w *world) {
		lives := w.dial(hello("lives"))
		w.ack(lives, w.sent(lives), ack.Succeeded)
		ghost := w.dial(hello("ghost"))
		r := w.send("vm-1", command.Options{})
		require.Equal(w, []string{r.ID()}, ids(w.receive(ghost, 1)))
		require.Empty(w, w.presence().Fenced)
		w.quiet(lives, time.Minute)
		require.NoError(w, lives.Report(w.Context()))
		require.NoError(w, ghost.Close())
		require.Equal(w, "lives", w.presence().Instance)
		require.Equal(w, []string{r.ID()}, ids(w.receive(lives, 1)), "it comes again")
		w.ack(lives, r.ID(), ack.Succeeded)
		w.ack(lives, w.sent(lives), ack.Succeeded)
		require.Empty(w, w.presence().Fenced)

		// Another, beside which the one that lives dials again.
		ghost = w.dial(hello("another ghost"))
		again := w.dial(hello("lives"))
		for link, want := range map[transport.Link]error{ghost: transport.ErrUnavailable, lives: transport.ErrReplaced} {
			_, err := link.Receive(w.Context())
			require.ErrorIs(w, err, want)
			require.NoError(w, link.Close())
		}
		w.ack(again, w.sent(again), ack.Succeeded)
		require.Empty(w, w.presence().Fenced)
	})
}

// sent sends a command, and returns its ID once it has come by a link.
func (w *world) sent(l transport.Link) string {
	w.Helper()
	r := w.send("vm-1", command.Options{})
	require.Equal(w, []string{r.ID()}, ids(w.receive(l, 1)))
	return r.ID()
}

// What counts as heard: any call of any link of the instance, and its next dial where the one before is over.
func TestHeardOfANewInstance(t *testing.T) {
	for name, say := range map[string]func(w *world, l transport.Link){
		"a sign of life": func(w *world, l transport.Link) { require.NoError(w, l.Report(w.Context())) },
		"an ack": func(w *world, l transport.Link) {
			require.ErrorIs(w, l.Ack(w.Context(), ack.Ack{CommandID: "x", Stage: ack.Received}), transport.ErrUnknownCommand)
		},
		"another link": func(w *world, _ transport.Link) {
			require.NoError(w, w.dial(transport.Hello{VM: "vm-1", Instance: "new", Uplink: true}).Report(w.Context()))
		},
		"its next poll": func(w *world, l transport.Link) {
			require.NoError(w, l.Close())
			w.dial(hello("new"))
		},
	} {
		run(t, controller.Options{}, func(w *world) {
			old := w.dial(hello("old"))
			newer := w.dial(hello("new"))
			require.Empty(w, w.presence().Fenced, name)
			say(w, newer)
			require.Equal(w, []string{"old"}, w.presence().Fenced, name)
			_, err := old.Receive(w.Context())
			require.ErrorIs(w, err, transport.ErrSuperseded, name)
			require.ErrorContains(w, err, "instance new of vm-1 has taken over from old")
			require.True(w, w.presence().Attached)
		})
	}
	run(t, controller.Options{}, func(w *world) { // two dials at a time may both be of a process that is gone
		old := w.dial(hello("old"))
		w.dial(hello("new"))
		w.dial(hello("new"))
		require.Empty(w, w.presence().Fenced)
		require.NoError(w, old.Report(w.Context()))
		require.Empty(w, w.presence().Fenced)
	})
}

// Fenced instances are remembered for a week, the latest 64 of them.
func TestFencedAreRemembered(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		const many = 70
		for i := range many + 1 {
			l := w.dial(hello(fmt.Sprint(i)))
			require.NoError(w, l.Report(w.Context()))
			require.NoError(w, l.Close())
		}
		require.Len(w, w.presence().Fenced, 64)
		_, err := w.c.Dial(w.Context(), hello(fmt.Sprint(many-64)))
		require.ErrorIs(w, err, transport.ErrSuperseded)
		time.Sleep(7*24*time.Hour - time.Second)
		_, err = w.c.Dial(w.Context(), hello(fmt.Sprint(many-64)))
		require.ErrorIs(w, err, transport.ErrSuperseded)
		time.Sleep(time.Second)
		require.Empty(w, w.presence().Fenced)
		w.dial(hello(fmt.Sprint(many - 64)))
	})
}

// A start is refused in the step that would record it: who was fenced while his ack was on its way has not started.
func TestStartOfFencedInstance(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		old := w.dial(hello("old"))
		id := w.sent(old)
		newer := w.dial(hello("new"))
		require.Equal(w, []string{id}, ids(w.receive(newer, 1)))
		w.ack(newer, id, ack.Started)
		for stage, want := range map[ack.Stage]error{ack.Started: transport.ErrSuperseded, ack.Progress: transport.ErrSuperseded} {
			require.ErrorIs(w, old.Ack(w.Context(), ack.Ack{CommandID: id, Stage: stage}), want)
		}
		e, err := w.c.Get(w.Context(), id)
		require.NoError(w, err)
		require.Equal(w, "new", e.Instance)
	})
}
