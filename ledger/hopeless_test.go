package ledger_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Whatever becomes of the deliveries of a command, and whatever its agent says: it is given up only after so many of which
// it is known that they arrived, or that they have ended links, since the agent last spoke of it or, for the links, one last
// arrived; and never once it has started. Handing it out does not count.
func TestHopeless(t *testing.T) {
	t.Parallel()
	stages := []ack.Stage{ack.Received, ack.Received, ack.Started, ack.Progress, ack.Deferred, ack.Succeeded}
	rapid.Check(t, func(t *rapid.T) {
		const most = 3
		e := entry(time.Hour)
		delivered, silent, ended, started := 0, 0, 0, false
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			before := e
			switch rapid.IntRange(0, 12).Draw(t, "kind") {
			case 0, 1, 2:
				if !e.State.Settled() {
					delivered++
					e.Delivered(delivered, start)
				}
			case 3, 4, 5, 6:
				e.Unanswered(1)
				silent, ended = silent+1, 0
			case 7, 8, 9:
				e.Missed(true, "ws")
				ended++
			case 10:
				e.Missed(false, "ws")
			case 11:
				e.Arrived()
				ended = 0
			default:
				a := ack.Ack{CommandID: "c-1", Stage: rapid.SampledFrom(stages).Draw(t, "stage"), Attempt: rapid.IntRange(0, delivered).Draw(t, "attempt")}
				if err := e.Acked(a, ledger.Speaker{}, start); err != nil {
					continue
				}
				silent, ended = 0, 0
				started = started || e.State.Stage.Running() || e.State.Stage == ack.Deferred
			}
			if ledger.Changed(&before, &e) && e.Version == before.Version {
				t.Fatalf("changed from %+v to %+v under the same version", before, e)
			}
			var want ack.Code
			switch {
			case started || e.State.Settled():
			case silent >= most:
				want = ledger.CodeExhausted
			case ended >= most:
				want = ledger.CodeUndeliverable
			}
			if got := e.Hopeless(most); got != want {
				t.Fatalf("it is hopeless as %q, want %q: %d were not answered, %d have ended links: %+v %+v", got, want, silent, ended, e, e.Unheard)
			}
			given := e
			given.GiveUp(most, start)
			if want != "" != given.State.Settled() && !e.State.Settled() || want != "" && given.Code != want {
				t.Fatalf("given up as %q, it is %+v", want, given)
			}
		}
	})
}

func TestGiveUp(t *testing.T) {
	t.Parallel()
	e := ledger.NewEntry("vm-1", 1, command.Command{ID: "c-1", Type: "x", Parameters: command.Parameters(`{"a":1}`)}, start)
	e.Unanswered(2)
	lost := e
	e.Unanswered(1)
	e.GiveUp(3, start)
	require.Equal(t, "delivered 3 times without an answer", e.Reason)
	for range 4 {
		lost.GiveUp(3, start)
		lost.Missed(true, "longpoll, ws")
	}
	lost.GiveUp(3, start)
	require.Equal(t, ack.Dead, lost.State.Stage)
	require.Contains(t, lost.Reason, "3 links over longpoll, ws that worked have ended when it was sent: the command has 7 bytes of parameters")
	require.Zero(t, lost.Misses()-3)
}

// A word on an earlier command of the same ID changes nothing, be it its end.
func TestWordOnAnother(t *testing.T) {
	t.Parallel()
	e := ledger.NewEntry("vm-1", 1, command.Command{ID: "c-1", Type: "x", CreatedAt: start.Add(1234567)}, start)
	require.Equal(t, start.Add(time.Millisecond).UTC(), e.Command.CreatedAt)
	e.Delivered(1, start)
	before := e
	said := ack.Ack{CommandID: "c-1", Stage: ack.Succeeded, CreatedAt: start}
	require.ErrorIs(t, e.Acked(said, ledger.Speaker{}, start), transport.ErrUnknownCommand)
	require.False(t, ledger.Changed(&before, &e))
	said.CreatedAt = e.Command.CreatedAt
	require.NoError(t, e.Acked(said, ledger.Speaker{}, start))
	require.Equal(t, ack.Succeeded, e.State.Stage)
}
