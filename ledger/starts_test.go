package ledger_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Whatever two machines with one name say of a command, in whatever order, and whichever of them is fenced meanwhile: of
// those that ask whether they may start at most one may, until it asks for another time, and none once the command has
// ended.
func TestOneMachineStarts(t *testing.T) {
	t.Parallel()
	stages := []ack.Stage{ack.Received, ack.Started, ack.Started, ack.Started, ack.Progress, ack.Deferred, ack.Succeeded, ack.Interrupted}
	rapid.Check(t, func(t *rapid.T) {
		e, now := entry(time.Hour), start
		e.Delivered(1, now)
		fenced := map[string]string{}
		owner := "" // who was let start, and has not deferred it
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if rapid.IntRange(0, 9).Draw(t, "kind") == 0 {
				fenced["a"] = rapid.SampledFrom([]string{"", "b"}).Draw(t, "fenced by")
			}
			if rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
				e.Delivered(rapid.IntRange(1, 5).Draw(t, "delivery"), now)
				continue
			}
			before := e
			machine := rapid.SampledFrom([]string{"a", "b", "clone of b"}).Draw(t, "machine")
			by := ledger.Speaker{Instance: strings.TrimPrefix(machine, "clone of "), FencedBy: fenced[machine]}
			a := ack.Ack{CommandID: "c-1", Stage: rapid.SampledFrom(stages).Draw(t, "stage"), Attempt: rapid.IntRange(0, 5).Draw(t, "attempt")}
			a.Again = a.Stage == ack.Started && rapid.IntRange(0, 9).Draw(t, "again") == 0
			if a.Stage == ack.Started || a.Stage == ack.Deferred && rapid.Bool().Draw(t, "named") {
				a.Run = "of " + machine
			}
			err := e.Acked(a, by, now)
			switch {
			case err != nil && ledger.Changed(&before, &e):
				t.Fatalf("%v, and yet it changed from %+v to %+v", err, before, e)
			case err == nil && fenced[machine] != "" && !a.Stage.Final():
				t.Fatalf("%s is fenced, and said %s", machine, a.Stage)
			case e.State.Settled() && e.State == before.State && ledger.Changed(&before, &e):
				t.Fatalf("it has ended as %+v, and became %+v", before, e)
			}
			if a.Stage == ack.Deferred && err == nil && e.State.Stage == ack.Deferred && e.State != before.State {
				if a.Run != "" && owner != "" && owner != machine {
					t.Fatalf("%s deferred what %s has started: %+v", machine, owner, before)
				}
				owner = ""
			}
			if a.Stage != ack.Started || err != nil {
				continue
			}
			switch {
			case before.State.Settled():
				t.Fatalf("%s was let start what has ended: %+v", machine, before)
			case a.Again:
			case owner != "" && owner != machine:
				t.Fatalf("%s was let start what %s has started: %+v", machine, owner, before)
			case e.Instance != by.Instance || e.Run != a.Run:
				t.Fatalf("%s was let start it, and the entry says %q: %+v became %+v", machine, e.Instance, before, e)
			}
			if e.State.Stage.Running() && e.Instance == by.Instance && e.Run == a.Run {
				owner = machine
			}
		}
	})
}

// Why a start is refused.
func TestStartIsRefused(t *testing.T) {
	t.Parallel()
	say := func(e *ledger.Entry, instance string, a ack.Ack) error {
		a.CommandID = "c-1"
		return e.Acked(a, ledger.Speaker{Instance: instance}, start)
	}
	started, deferred := ack.Ack{Stage: ack.Started, Attempt: 1}, ack.Ack{Stage: ack.Deferred, Attempt: 1}
	e := entry(0)
	e.Delivered(1, start)
	require.NoError(t, say(&e, "a", started))
	require.Equal(t, "a", e.Instance)
	version := e.Version
	require.NoError(t, say(&e, "a", started), "the same one may say it again")
	require.Equal(t, version, e.Version, "which says nothing new")
	err := say(&e, "b", started)
	require.ErrorIs(t, err, transport.ErrCommandStarted)
	require.ErrorContains(t, err, "another run has begun, of instance a")
	require.NoError(t, say(&e, "", started), "who has no name is told from nobody")
	require.Equal(t, "a", e.Instance)
	require.NoError(t, say(&e, "b", ack.Ack{Stage: ack.Progress, Attempt: 1}), "a fact is a fact")
	require.Equal(t, "a", e.Instance)
	err = e.Acked(started, ledger.Speaker{Instance: "a", FencedBy: "b"}, start)
	require.ErrorIs(t, err, transport.ErrSuperseded)
	require.ErrorContains(t, err, "instance b of vm-1 has taken over from a")

	again := started
	again.Again = true
	running := e
	require.NoError(t, say(&running, "b", again))
	require.Equal(t, "b", running.Instance)
	require.ErrorIs(t, say(&running, "a", started), transport.ErrCommandStarted)

	require.NoError(t, say(&e, "a", deferred))
	next := ack.Ack{Stage: ack.Started, Attempt: 2}
	for _, delivered := range []bool{false, true} { // the attempt was a's, and is over
		late := e
		if delivered {
			late.Delivered(2, start)
		}
		require.NoError(t, say(&late, "b", started), "of the next")
		require.Equal(t, ack.State{Stage: ack.Started, Attempt: 2, Round: 2}, late.State)
		require.Equal(t, "b", late.Instance)
		require.ErrorIs(t, say(&late, "a", next), transport.ErrCommandStarted)
		require.ErrorIs(t, say(&late, "a", started), transport.ErrCommandStarted)
	}
	e.Delivered(2, start)
	require.NoError(t, say(&e, "a", started), "said before, and late")
	require.Equal(t, ack.Delivered, e.State.Stage)
	require.NoError(t, say(&e, "b", next), "the next is whose it is first")
	require.ErrorIs(t, say(&e, "a", next), transport.ErrCommandStarted)

	require.NoError(t, e.Acked(ack.Ack{Stage: ack.Succeeded, Attempt: 2}, ledger.Speaker{Instance: "b", FencedBy: "a"}, start), "an end counts, whoever says it")
	for _, instance := range []string{"a", "b", ""} {
		err := say(&e, instance, again)
		require.ErrorIs(t, err, transport.ErrCommandSettled)
		require.ErrorContains(t, err, "it has ended as succeeded")
	}

	old := entry(0) // of a ledger that does not know who has started it
	old.State = ack.State{Stage: ack.Started, Attempt: 1}
	require.NoError(t, say(&old, "a", started))
	require.Equal(t, "a", old.Instance, "it knows now")
	require.ErrorIs(t, say(&old, "b", started), transport.ErrCommandStarted)
}

// Two machines of one instance are told apart by the name of the run.
func TestRunsOfOneInstance(t *testing.T) {
	t.Parallel()
	e := entry(0)
	e.Delivered(1, start)
	say := func(run string, stage ack.Stage, attempt int) error {
		return e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: attempt, Run: run}, ledger.Speaker{Instance: "a"}, start)
	}
	require.NoError(t, say("1", ack.Started, 1))
	require.NoError(t, say("1", ack.Started, 1))
	require.ErrorIs(t, say("2", ack.Started, 1), transport.ErrCommandStarted)
	require.NoError(t, say("", ack.Started, 1), "who does not ask")
	require.Equal(t, "1", e.Run)
	require.NoError(t, say("", ack.Deferred, 1))
	require.NoError(t, say("1", ack.Started, 1), "said before, and late")
	require.Equal(t, ack.Deferred, e.State.Stage)
	require.NoError(t, say("2", ack.Started, 1), "for an attempt that is over: it is the next")
	require.Equal(t, ack.State{Stage: ack.Started, Attempt: 2, Round: 2}, e.State)
	require.Equal(t, "2", e.Run)
	require.ErrorIs(t, say("1", ack.Started, 2), transport.ErrCommandStarted)
}

// The agent counts from the latest delivery that has come to it. After a deferral its next attempt may have the number of one
// that was lost on the way, and is recorded all the same: to take it and record nothing would be to permit what nobody knows of.
func TestStartAfterADeferral(t *testing.T) {
	t.Parallel()
	for name, again := range map[string]func(e *ledger.Entry){
		"before the next delivery": func(*ledger.Entry) {},
		"after it":                 func(e *ledger.Entry) { e.Delivered(4, start) },
	} {
		e := entry(0)
		for n := range 3 {
			e.Delivered(n+1, start) // the last two were lost
		}
		say := func(stage ack.Stage, attempt int) {
			require.NoError(t, e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: attempt, Run: "r"}, ledger.Speaker{Instance: "a"}, start))
		}
		say(ack.Started, 1)
		say(ack.Deferred, 1)
		again(&e)
		say(ack.Started, 1)
		require.False(t, e.State.Stage.Running(), "%s: said before, and late", name)
		say(ack.Started, 2)
		require.Equal(t, ack.Started, e.State.Stage, name)
		say(ack.Deferred, 1)
		require.Equal(t, ack.Started, e.State.Stage, "%s: said before, and late", name)
		say(ack.Deferred, 2)
		require.Equal(t, ack.Deferred, e.State.Stage, name)
	}
}

// Another machine, which has not started a command, defers it, as where its disk is full. What runs goes on: the other may not
// start it for that.
func TestDeferredByAnother(t *testing.T) {
	t.Parallel()
	for name, by := range map[string]ledger.Speaker{"of one instance": {Instance: "a"}, "of another": {Instance: "b"}} {
		e := entry(0)
		e.Delivered(1, start)
		say := func(by ledger.Speaker, stage ack.Stage, run string) error {
			return e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: 1, Run: run}, by, start)
		}
		require.NoError(t, say(ledger.Speaker{Instance: "a"}, ack.Started, "1"))
		before := e
		require.NoError(t, say(by, ack.Deferred, "2"), name)
		require.Equal(t, before, e, name)
		require.ErrorIs(t, say(by, ack.Started, "2"), transport.ErrCommandStarted, name)
		require.NoError(t, say(ledger.Speaker{Instance: "a"}, ack.Deferred, "1"), name)
		require.Equal(t, ack.Deferred, e.State.Stage, name)
	}
}
