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

// Of a run that is limited it is known by when it ends for as long as it goes on, counted from when it began: what is said
// of it meanwhile changes nothing, another run begins anew. What is concluded for that, the agent's own word replaces.
func TestRunsEnd(t *testing.T) {
	t.Parallel()
	stages := []ack.Stage{ack.Received, ack.Started, ack.Progress, ack.Deferred}
	ends := []ack.Ack{{Stage: ack.Succeeded}, {Stage: ack.Failed}, {Stage: ack.Failed, Code: ack.CodeRunTimeout}, {Stage: ack.Canceled}}
	rapid.Check(t, func(t *rapid.T) {
		cmd := command.Command{ID: "c-1", Type: command.TypeDrain, CreatedAt: start}
		cmd.RunTimeout = command.Milliseconds(rapid.SampledFrom([]time.Duration{0, time.Minute}).Draw(t, "limit"))
		e, now := ledger.NewEntry("vm-1", 1, cmd, start), start
		var began time.Time
		within := time.Duration(0)
		for range rapid.IntRange(1, 40).Draw(t, "steps") {
			now = now.Add(rapid.SampledFrom([]time.Duration{0, time.Second, 50 * time.Second}).Draw(t, "later"))
			before := e
			if e.Overrun(now) {
				e.EndRun(now)
				if !e.State.Verdict || e.State.Stage != ack.Failed || e.Code != ack.CodeRunTimeout || e.Reason == "" {
					t.Fatalf("it ended as %+v", e)
				}
			} else {
				a := ack.Ack{
					CommandID: "c-1", Stage: rapid.SampledFrom(stages).Draw(t, "stage"), Attempt: rapid.IntRange(0, 4).Draw(t, "attempt"),
					Run: rapid.SampledFrom([]string{"", "one", "other"}).Draw(t, "run"), Again: rapid.Bool().Draw(t, "again"),
					EndsIn: rapid.SampledFrom([]uint64{0, 30_000}).Draw(t, "ends in"),
				}
				if rapid.IntRange(0, 9).Draw(t, "ends") == 0 {
					end := rapid.SampledFrom(ends).Draw(t, "end")
					a.Stage, a.Code = end.Stage, end.Code
				}
				by := ledger.Speaker{Instance: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "instance")}
				if err := e.Acked(a, by, now); err != nil && !transport.Refused(err) {
					t.Fatal(err)
				}
				if e.State.Stage.Running() && (!before.State.Stage.Running() || before.Run != e.Run || before.Instance != e.Instance) {
					began, within = now, time.Duration(a.EndsIn)*time.Millisecond
					if within == 0 && cmd.RunTimeout > 0 {
						within = time.Minute + ledger.RunGrace
					}
				}
			}
			switch want := began.Add(within); {
			case !e.State.Stage.Running() || within == 0:
				if !e.RunEnds.IsZero() || e.Overrun(now.Add(1000*time.Hour)) || !e.DueAt().IsZero() {
					t.Fatalf("%+v is said to end by %s", e.State, e.RunEnds)
				}
			case !e.RunEnds.Equal(want) || !e.DueAt().Equal(want.Add(ledger.RunSlack)):
				t.Fatalf("the run ends by %s, not %s", e.RunEnds, want)
			case e.Overrun(e.DueAt().Add(-1)) || !e.Overrun(e.DueAt()):
				t.Fatalf("due at %s", e.DueAt())
			}
			if ledger.Changed(&before, &e) && e.Version <= before.Version {
				t.Fatalf("changed from %+v to %+v under the same version", before, e)
			}
		}
	})
}

// What the agent says of a run after the controller has ended it, or it itself has given it up, counts; but not that it
// goes on.
func TestLateResult(t *testing.T) {
	t.Parallel()
	say := func(e *ledger.Entry, stage ack.Stage, code ack.Code) error {
		return e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Code: code, Attempt: 1, EndsIn: 1000}, ledger.Speaker{}, start)
	}
	for name, end := range map[string]func(e *ledger.Entry){
		"a verdict": func(e *ledger.Entry) { e.EndRun(start.Add(time.Minute)) },
		"abandoned": func(e *ledger.Entry) { _ = say(e, ack.Failed, ack.CodeRunTimeout) },
		"both": func(e *ledger.Entry) {
			e.EndRun(start.Add(time.Minute))
			_ = say(e, ack.Failed, ack.CodeRunTimeout)
		},
	} {
		e := entry(0)
		require.NoError(t, say(&e, ack.Started, ""), name)
		end(&e)
		require.Equal(t, ack.Failed, e.State.Stage, name)
		require.Equal(t, ack.CodeRunTimeout, e.Code, name)
		require.ErrorIs(t, say(&e, ack.Started, ""), map[bool]error{true: transport.ErrCommandDead, false: transport.ErrCommandSettled}[e.State.Verdict], name)
		other := e
		require.NoError(t, say(&other, ack.Failed, ""), name)
		require.Empty(t, other.Code, name)
		require.Equal(t, ledger.Step{Stage: ack.Failed, Attempt: 1, At: start}, other.History[len(other.History)-1], name)
		require.NoError(t, say(&e, ack.Succeeded, ""), name)
		require.Equal(t, ack.State{Stage: ack.Succeeded, Attempt: 1}, e.State, name)
		require.Empty(t, e.Code, name)
		require.NoError(t, say(&e, ack.Failed, ack.CodeRunTimeout), name)
		require.Equal(t, ack.Succeeded, e.State.Stage, name)
	}
}

// A run that was to end while there was no controller has RunSlack from when there is one.
func TestAwaitRun(t *testing.T) {
	t.Parallel()
	e := entry(0)
	require.NoError(t, e.Acked(ack.Ack{CommandID: "c-1", Stage: ack.Started, EndsIn: 1000}, ledger.Speaker{}, start))
	before := e
	e.AwaitRun(start)
	require.Equal(t, before, e)
	e.AwaitRun(start.Add(time.Hour))
	require.True(t, ledger.Changed(&before, &e))
	require.Greater(t, e.Version, before.Version)
	require.True(t, e.DueAt().Equal(start.Add(time.Hour+ledger.RunSlack)))
}
