package ledger_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func entry(ttl time.Duration) ledger.Entry {
	cmd := command.Command{ID: "c-1", Type: command.TypeDrain, CreatedAt: start}
	if ttl > 0 {
		cmd.ExpiresAt = start.Add(ttl)
	}
	return ledger.NewEntry("vm-1", 1, cmd, start)
}

// Whatever happens to a command, in whatever order: what the agent has said of its end stays, a
// version counts each change, and the history ends with what is so.
func TestEntryRules(t *testing.T) {
	t.Parallel()
	stages := []ack.Stage{ack.Received, ack.Started, ack.Progress, ack.Deferred, ack.Succeeded, ack.Failed, ack.Rejected, ack.Canceled, ack.Interrupted}
	rapid.Check(t, func(t *rapid.T) {
		e, now := entry(time.Hour), start
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 20 * time.Minute}).Draw(t, "later"))
			before := e
			var err error
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				e.Delivered(rapid.IntRange(1, 5).Draw(t, "delivery"), now)
			case 1:
				e.RequestCancel("not needed", now)
			case 2:
				if e.Expirable(now) {
					e.Conclude(ack.Expired, "", "", now)
				}
			default:
				err = e.Acked(ack.Ack{
					CommandID: "c-1", Stage: rapid.SampledFrom(stages).Draw(t, "stage"), Attempt: rapid.IntRange(0, 5).Draw(t, "attempt"),
					Code:   rapid.SampledFrom([]ack.Code{"", "no_disk", "no_room"}).Draw(t, "code"),
					Reason: rapid.SampledFrom([]string{"", "because"}).Draw(t, "reason"),
				}, ledger.Speaker{}, now)
			}
			changed := ledger.Changed(&before, &e)
			if len(e.History) > 0 && e.Code != e.History[len(e.History)-1].Code {
				t.Fatalf("the code is %q, and that of the latest stage is %q", e.Code, e.History[len(e.History)-1].Code)
			}
			switch {
			case err != nil && changed:
				t.Fatalf("%v, and yet it changed from %+v to %+v", err, before, e)
			case err != nil && !transport.Refused(err):
				t.Fatalf("the link does not live: %v", err)
			case changed && e.Version <= before.Version:
				t.Fatalf("changed from %+v to %+v under the same version", before, e)
			case before.State.Settled() && !e.State.Settled():
				t.Fatalf("was settled: %+v, now %+v", before, e)
			case before.State.Settled() && !before.State.Verdict && e.State != before.State:
				t.Fatalf("what the agent said did not stay: %+v, now %+v", before, e)
			case len(e.History) > ledger.MaxHistory:
				t.Fatalf("%d steps of history", len(e.History))
			case e.History[0].Stage != ack.Queued || e.History[len(e.History)-1].Stage != e.State.Stage:
				t.Fatalf("%+v has the history %+v", e.State, e.History)
			}
		}
	})
}

// A command that was called off may not start; one that runs goes on, and its word counts.
func TestMayStart(t *testing.T) {
	t.Parallel()
	say := func(e *ledger.Entry, stage ack.Stage, at time.Duration) error {
		return e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: 1}, ledger.Speaker{}, start.Add(at))
	}
	for _, test := range []struct {
		name    string
		off     func(e *ledger.Entry)
		at      time.Duration
		err     error
		verdict bool // of the controller, which concludes nothing that runs
	}{
		{"cancelled", func(e *ledger.Entry) { e.RequestCancel("no", start) }, 0, transport.ErrCommandCanceled, false},
		{"expired", func(*ledger.Entry) {}, 2 * time.Hour, transport.ErrCommandExpired, false},
		{"concluded as expired", func(e *ledger.Entry) { e.Conclude(ack.Expired, "", "", start) }, 0, transport.ErrCommandExpired, true},
		{"superseded", func(e *ledger.Entry) { e.Conclude(ack.Superseded, "", "by c-2", start) }, 0, transport.ErrCommandSuperseded, true},
		{"dead", func(e *ledger.Entry) { e.Conclude(ack.Dead, "", "", start) }, 0, transport.ErrCommandDead, true},
	} {
		e := entry(time.Hour)
		e.Delivered(1, start)
		test.off(&e)
		require.ErrorIs(t, say(&e, ack.Started, test.at), test.err, test.name)
		require.NoError(t, say(&e, ack.Succeeded, test.at), "it was run all the same: %s", test.name)
		require.Equal(t, ack.Succeeded, e.State.Stage)
		require.False(t, e.State.Verdict)

		if test.verdict {
			continue
		}
		running := entry(time.Hour)
		running.Delivered(1, start)
		require.NoError(t, say(&running, ack.Started, 0))
		test.off(&running)
		require.False(t, running.Expirable(start.Add(test.at)))
		require.NoError(t, say(&running, ack.Progress, test.at), test.name)
	}
}

func TestSupersedable(t *testing.T) {
	t.Parallel()
	e := entry(0)
	e.Command.SupersedeKey = "config"
	newer := command.Command{SupersedeKey: "config"}
	require.True(t, e.Supersedable(newer))
	require.False(t, e.Supersedable(command.Command{}))
	require.False(t, e.Supersedable(command.Command{SupersedeKey: "other"}))
	require.NoError(t, e.Acked(ack.Ack{CommandID: "c-1", Stage: ack.Started, Attempt: 1}, ledger.Speaker{}, start))
	require.False(t, e.Supersedable(newer), "it runs")
}

// Two edits of the same snapshot do not see each other's steps, nor does what others add to a copy.
func TestHistoryIsNotShared(t *testing.T) {
	t.Parallel()
	e := entry(0)
	apply := func(e *ledger.Entry, stage ack.Stage) *ledger.Entry {
		edited := e.Apply(ledger.Edit{ID: "c-1", Do: func(e *ledger.Entry) error {
			return e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: 1}, ledger.Speaker{}, start)
		}}, nil)
		require.True(t, edited.Changed)
		return edited.Entry
	}
	stages := func(e *ledger.Entry) (out []ack.Stage) {
		for _, s := range e.History {
			out = append(out, s.Stage)
		}
		return out
	}
	one := apply(&e, ack.Started)
	other := apply(&e, ack.Received)
	own := e.Copy()
	own.History = append(own.History, ledger.Step{Stage: ack.Dead})
	last := apply(one, ack.Succeeded)
	require.Equal(t, []ack.Stage{ack.Queued}, stages(&e))
	require.Equal(t, []ack.Stage{ack.Queued, ack.Started}, stages(one))
	require.Equal(t, []ack.Stage{ack.Queued, ack.Received}, stages(other))
	require.Equal(t, []ack.Stage{ack.Queued, ack.Started, ack.Succeeded}, stages(last))
	own = last.Copy()
	own.History = append(own.History, ledger.Step{Stage: ack.Dead})
	require.Equal(t, []ack.Stage{ack.Queued, ack.Started, ack.Failed}, stages(apply(one, ack.Failed)))
	require.Equal(t, []ack.Stage{ack.Queued, ack.Started, ack.Succeeded}, stages(last))
}

// A TTL counts from when the command is stored, by the clock that stores it, however long ago it was made, and elsewhere.
func TestTTLCountsFromTheAppend(t *testing.T) {
	t.Parallel()
	cmd, err := command.New(command.Drain{}, command.Options{TTL: time.Minute})
	require.NoError(t, err)
	now := cmd.CreatedAt.Add(48 * time.Hour).In(time.FixedZone("", 3600))
	e := ledger.NewEntry("vm-1", 1, cmd, now)
	require.True(t, e.Command.ExpiresAt.Equal(now.Add(time.Minute)), e.Command.ExpiresAt)
	require.Equal(t, time.UTC, e.Command.ExpiresAt.Location())
	require.Zero(t, e.Command.TTL)
	require.Equal(t, cmd.CreatedAt, e.Command.CreatedAt)

	cmd.TTL = 0 // and a time that its maker has set stays
	require.Equal(t, cmd.ExpiresAt, ledger.NewEntry("vm-1", 1, cmd, now).Command.ExpiresAt)
}

// What an entry says besides its stage is of that stage: nothing is left of an earlier one.
func TestOldReasonsDoNotStick(t *testing.T) {
	t.Parallel()
	type said struct{ reason, result string }
	say := func(e *ledger.Entry, a ack.Ack) said {
		require.NoError(t, e.Acked(a, ledger.Speaker{}, start))
		return said{e.Reason, string(e.Result)}
	}
	result := json.RawMessage(`{"percent":50}`)

	e := entry(0)
	e.Delivered(1, start)
	require.Equal(t, said{"half way", `{"percent":50}`}, say(&e, ack.Ack{Stage: ack.Progress, Attempt: 1, Reason: "half way", Result: result}))
	require.Equal(t, said{"half way", `{"percent":50}`}, say(&e, ack.Ack{Stage: ack.Progress, Attempt: 1}), "a report that says nothing new")
	require.Equal(t, said{"not now", ""}, say(&e, ack.Ack{Stage: ack.Deferred, Attempt: 1, Reason: "not now"}))
	e.Delivered(2, start)
	require.Empty(t, e.Reason)
	require.Equal(t, said{"", ""}, say(&e, ack.Ack{Stage: ack.Succeeded, Attempt: 2}))

	e = entry(0)
	e.Delivered(1, start)
	require.Equal(t, said{"not now", ""}, say(&e, ack.Ack{Stage: ack.Deferred, Attempt: 1, Reason: "not now"}))
	require.Equal(t, said{"", ""}, say(&e, ack.Ack{Stage: ack.Succeeded, Attempt: 2}), "the agent tried again by itself")

	e = entry(0)
	e.Delivered(1, start)
	say(&e, ack.Ack{Stage: ack.Started, Attempt: 1})
	say(&e, ack.Ack{Stage: ack.Progress, Attempt: 1, Reason: "half way", Result: result})
	e.Delivered(2, start)
	require.Equal(t, "half way", e.Reason, "a redelivery says nothing")
	e.Conclude(ack.Dead, "", "nothing was heard of it", start)
	require.Equal(t, "nothing was heard of it", e.Reason)
	require.JSONEq(t, string(result), string(e.Result), "a verdict is not the agent's word")
	require.Equal(t, said{"", ""}, say(&e, ack.Ack{Stage: ack.Succeeded, Attempt: 1}))
}
