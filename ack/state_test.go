package ack_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
)

var (
	open   = []ack.Stage{ack.Received, ack.Started, ack.Progress, ack.Deferred}
	finals = []ack.Stage{ack.Succeeded, ack.Failed, ack.Rejected, ack.Expired, ack.Canceled, ack.Superseded, ack.Interrupted}
	codes  = []ack.Code{"", ack.CodeRunTimeout, "no_disk"}
	order  = []ack.Stage{"", ack.Deferred, ack.Delivered, ack.Received, ack.Started, ack.Progress}
)

// place is where a stage stands within a round.
func place(s ack.Stage) int {
	for i, at := range order {
		if s == at {
			return i
		}
	}
	return len(order)
}

// lower says whether a is before b, in the order that the docs of Merge state.
func lower(a, b ack.State) bool {
	if a.Settled() || b.Settled() {
		score := func(s ack.State) int {
			switch {
			case !s.Settled():
				return 0
			case s.Verdict:
				return 1
			case s.Abandoned:
				return 2
			}
			return 3
		}
		return score(a) < score(b)
	}
	if a.Round != b.Round {
		return a.Round < b.Round
	}
	return place(a.Stage) < place(b.Stage)
}

// drawStep is one thing that may happen to a command.
func drawStep(t *rapid.T) func(ack.State) ack.State {
	switch rapid.IntRange(0, 5).Draw(t, "kind") {
	case 0:
		n := rapid.IntRange(1, 4).Draw(t, "delivery")
		return func(s ack.State) ack.State { s, _ = s.Deliver(n); return s }
	case 1:
		verdict := rapid.SampledFrom([]ack.Stage{ack.Expired, ack.Superseded, ack.Canceled, ack.Dead}).Draw(t, "verdict")
		return func(s ack.State) ack.State { s, _ = s.Conclude(verdict); return s }
	}
	a := ack.Ack{
		CommandID: "c",
		Stage:     rapid.SampledFrom(append(open, finals...)).Draw(t, "stage"),
		Attempt:   rapid.IntRange(0, 4).Draw(t, "attempt"),
		Code:      rapid.SampledFrom(codes).Draw(t, "code"),
	}
	return func(s ack.State) ack.State { s, _ = s.Merge(a); return s }
}

func TestNothingGoesBackwards(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s ack.State
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			step := drawStep(t)
			next := step(s)
			if lower(next, s) || next.Attempt < s.Attempt || next.Round < s.Round {
				t.Fatalf("%+v became %+v", s, next)
			}
			if s.Settled() && !s.Verdict && !s.Abandoned && next != s {
				t.Fatalf("an agent's final word changed: %+v became %+v", s, next)
			}
			if again := step(next); again != next {
				t.Fatalf("the same fact again made %+v of %+v", again, next)
			}
			s = next
		}
	})
}

func TestChangedIsTrue(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var s ack.State
		for range rapid.IntRange(1, 20).Draw(t, "steps") {
			a := ack.Ack{CommandID: "c", Stage: rapid.SampledFrom(append(open, finals...)).Draw(t, "stage"), Attempt: rapid.IntRange(0, 4).Draw(t, "attempt"), Code: rapid.SampledFrom(codes).Draw(t, "code")}
			next, changed := s.Merge(a)
			if next != s && !changed {
				t.Fatalf("%+v became %+v unsaid", s, next)
			}
			if next == s && changed && a.Stage != ack.Progress {
				t.Fatalf("%v changed nothing of %+v and says so", a.Stage, s)
			}
			s = next
		}
	})
}

// Facts of one attempt may arrive in any order: what comes of them is the same, but that of two
// different final stages the first stays, which no honest agent says.
func TestOrderDoesNotMatter(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		acks := []ack.Ack{{Stage: ack.Received, Attempt: 1}, {Stage: ack.Started, Attempt: 1}, {Stage: ack.Progress, Attempt: 1}}
		if rapid.Bool().Draw(t, "settles") {
			acks = append(acks, ack.Ack{Stage: rapid.SampledFrom(finals).Draw(t, "final"), Attempt: 1})
		}
		if rapid.Bool().Draw(t, "abandoned before") {
			acks = append(acks, ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout, Attempt: 1})
		}
		merge := func(acks []ack.Ack) ack.State {
			var s ack.State
			s, _ = s.Deliver(1)
			for _, a := range acks {
				s, _ = s.Merge(a)
			}
			return s
		}
		want := merge(acks)
		if got := merge(rapid.Permutation(acks).Draw(t, "order")); got != want {
			t.Fatalf("%+v, in order %+v", got, want)
		}
	})
}

func TestMerge(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		from ack.State
		ack  ack.Ack
		want ack.State
	}{
		"a stage does not go backwards":             {ack.State{Stage: ack.Started, Attempt: 1}, ack.Ack{Stage: ack.Received, Attempt: 1}, ack.State{Stage: ack.Started, Attempt: 1}},
		"a late word replaces a verdict":            {ack.State{Stage: ack.Dead, Attempt: 3, Verdict: true}, ack.Ack{Stage: ack.Succeeded, Attempt: 1}, ack.State{Stage: ack.Succeeded, Attempt: 3}},
		"a verdict stays against what is not final": {ack.State{Stage: ack.Expired, Verdict: true}, ack.Ack{Stage: ack.Started}, ack.State{Stage: ack.Expired, Verdict: true}},
		"the first final word stays":                {ack.State{Stage: ack.Failed, Attempt: 1}, ack.Ack{Stage: ack.Succeeded, Attempt: 2}, ack.State{Stage: ack.Failed, Attempt: 1}},
		"a late result replaces an abandoned run":   {ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}, ack.Ack{Stage: ack.Succeeded, Attempt: 1}, ack.State{Stage: ack.Succeeded, Attempt: 1}},
		"and so does another failure":               {ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}, ack.Ack{Stage: ack.Failed, Attempt: 1}, ack.State{Stage: ack.Failed, Attempt: 1}},
		"a refusal does not replace a verdict":      {ack.State{Stage: ack.Dead, Attempt: 1, Verdict: true}, ack.Ack{Stage: ack.Rejected, Code: ack.CodeRefused}, ack.State{Stage: ack.Dead, Attempt: 1, Verdict: true}},
		"nor an abandoned run":                      {ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}, ack.Ack{Stage: ack.Rejected, Code: ack.CodeRefused}, ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}},
		"it ends what has not ended":                {ack.State{Stage: ack.Delivered, Attempt: 1}, ack.Ack{Stage: ack.Rejected, Code: ack.CodeRefused}, ack.State{Stage: ack.Rejected, Attempt: 1}},
		"an abandoned run replaces a verdict":       {ack.State{Stage: ack.Failed, Attempt: 1, Verdict: true}, ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout}, ack.State{Stage: ack.Failed, Attempt: 1, Abandoned: true}},
		"an abandoned run replaces no result":       {ack.State{Stage: ack.Canceled, Attempt: 1}, ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout}, ack.State{Stage: ack.Canceled, Attempt: 1}},
		"an ack of an earlier attempt counts":       {ack.State{Stage: ack.Delivered, Attempt: 2}, ack.Ack{Stage: ack.Succeeded, Attempt: 1}, ack.State{Stage: ack.Succeeded, Attempt: 2}},
		"an ack of an earlier round does not":       {ack.State{Stage: ack.Delivered, Attempt: 2, Round: 2}, ack.Ack{Stage: ack.Started, Attempt: 1}, ack.State{Stage: ack.Delivered, Attempt: 2, Round: 2}},
		"an attempt of 0 is the latest":             {ack.State{Stage: ack.Delivered, Attempt: 2, Round: 2}, ack.Ack{Stage: ack.Started}, ack.State{Stage: ack.Started, Attempt: 2, Round: 2}},
		"a deferral ends a round":                   {ack.State{Stage: ack.Started, Attempt: 3}, ack.Ack{Stage: ack.Deferred, Attempt: 2}, ack.State{Stage: ack.Deferred, Attempt: 3, Round: 3}},
		"the next attempt begins another":           {ack.State{Stage: ack.Deferred, Attempt: 3, Round: 3}, ack.Ack{Stage: ack.Started, Attempt: 3}, ack.State{Stage: ack.Started, Attempt: 3, Round: 3}},
		"one of before the deferral does not":       {ack.State{Stage: ack.Deferred, Attempt: 3, Round: 3}, ack.Ack{Stage: ack.Started, Attempt: 2}, ack.State{Stage: ack.Deferred, Attempt: 3, Round: 3}},
		"after a deferral a new round begins":       {ack.State{Stage: ack.Deferred, Attempt: 1}, ack.Ack{Stage: ack.Started, Attempt: 2}, ack.State{Stage: ack.Started, Attempt: 2, Round: 2}},
	} {
		got, _ := c.from.Merge(c.ack)
		require.Equal(t, c.want, got, name)
	}
}

// Each report of progress counts, also one that changes no stage.
func TestProgressCountsEachTime(t *testing.T) {
	t.Parallel()
	s := ack.State{Stage: ack.Progress, Attempt: 2, Round: 2}
	for attempt, want := range map[int]bool{0: true, 1: false, 2: true} {
		got, changed := s.Merge(ack.Ack{Stage: ack.Progress, Attempt: attempt})
		require.Equal(t, s, got)
		require.Equal(t, want, changed, "attempt %d", attempt)
	}
}

// That a run was abandoned is said once, however often.
func TestAbandonedIsSaidOnce(t *testing.T) {
	t.Parallel()
	gaveUp := ack.Ack{Stage: ack.Failed, Code: ack.CodeRunTimeout, Attempt: 1}
	s, changed := ack.State{Stage: ack.Started, Attempt: 1}.Merge(gaveUp)
	require.True(t, changed)
	again, changed := s.Merge(gaveUp)
	require.False(t, changed)
	require.Equal(t, s, again)
}

func ExampleState_Merge() {
	var s ack.State
	s, _ = s.Deliver(1)
	s, _ = s.Conclude(ack.Dead)                                      // the controller gave up waiting
	s, changed := s.Merge(ack.Ack{Stage: ack.Succeeded, Attempt: 1}) // and then the agent was heard of
	fmt.Println(s.Stage, changed)
	s, changed = s.Merge(ack.Ack{Stage: ack.Started, Attempt: 1}) // an ack that was on its way for long
	fmt.Println(s.Stage, changed)
	// Output:
	// succeeded true
	// succeeded false
}
