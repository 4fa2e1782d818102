package ledgertest

import (
	"errors"
	"sync"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// errMayNot is what the callers of these tests refuse with.
var errMayNot = errors.New("it may not")

// mayEnd lets an append end commands of one type alone.
func mayEnd(t command.Type) ledger.Limits {
	return ledger.Limits{MayEnd: func(e *ledger.Entry) error {
		if e.Command.Type != t {
			return errMayNot
		}
		return nil
	}}
}

func (s *suite) raw(t command.Type, o command.Options) command.Command {
	s.Helper()
	c, err := command.NewRaw(t, nil, o)
	require.NoError(s, err)
	return c
}

// What an append may not end stays as it is, and the append stores nothing.
func testMayEnd(s *suite) {
	shared := command.Options{SupersedeKey: "k"}
	mine := s.appendCommand("vm-1", s.raw("a", shared))
	foreign := s.raw("b", shared)
	limits := mayEnd("b")

	// "a" is in the way, whatever else could be ended.
	_, err := s.l.Append(s.Context(), "vm-1", foreign, limits, s.now)
	require.ErrorIs(s, err, errMayNot)
	_, err = s.l.Get(s.Context(), foreign.ID)
	require.ErrorIs(s, err, ledger.ErrNotFound, "nothing was stored")
	require.Equal(s, ack.Queued, s.get(mine.Command.ID).State.Stage)

	// With no such command in the way it is asked for nothing: none of that key, one that runs, one of another VM.
	for vm, key := range map[string]string{"vm-1": "other", "vm-2": "k", "vm-3": ""} {
		a, err := s.l.Append(s.Context(), vm, s.raw("b", command.Options{SupersedeKey: key}), limits, s.now)
		require.NoError(s, err)
		require.Empty(s, a.Superseded)
		require.EqualValues(s, map[string]int{"vm-1": 2, "vm-2": 1, "vm-3": 1}[vm], a.Entry.Seq, "a refusal uses no number")
	}
	s.acked("vm-1", mine.Command.ID, ack.Started)
	a, err := s.l.Append(s.Context(), "vm-1", foreign, limits, s.now)
	require.NoError(s, err, "what has started is not ended")
	require.Empty(s, a.Superseded)

	// Of several none is ended if one may not be.
	s.appendCommand("vm-4", s.raw("b", command.Options{}))
	first := s.appendCommand("vm-4", s.raw("b", command.Options{SupersedeKey: "k", Urgent: true}))
	second, err := s.l.Append(s.Context(), "vm-4", s.raw("b", shared), limits, s.now)
	require.NoError(s, err)
	require.Equal(s, []string{first.Command.ID}, ids(second.Superseded))
	_, err = s.l.Append(s.Context(), "vm-4", s.raw("a", shared), mayEnd("a"), s.now)
	require.ErrorIs(s, err, errMayNot)
	require.Equal(s, ack.Queued, s.get(second.Entry.Command.ID).State.Stage)
}

// The entry that has the ID or the key is shown to MayKnow, before it is said whether it is the same.
func testMayKnow(s *suite) {
	there := s.append("vm-1", command.Options{ID: "c-1", IdempotencyKey: "k"})
	var asked []string
	limits := ledger.Limits{MayKnow: func(e *ledger.Entry) error {
		asked = append(asked, e.VM+" "+e.Command.ID)
		return errMayNot
	}}
	for range 2 { // while it waits, and once it is settled
		asked = nil
		for _, test := range []struct {
			vm string
			o  command.Options
		}{
			{"vm-1", command.Options{ID: "c-1"}},
			{"vm-2", command.Options{ID: "c-1"}},
			{"vm-1", command.Options{ID: "c-2", IdempotencyKey: "k"}},
		} {
			_, err := s.l.Append(s.Context(), test.vm, s.command(test.o), limits, s.now)
			require.ErrorIs(s, err, errMayNot)
		}
		_, err := s.l.Append(s.Context(), "vm-1", s.raw("another", command.Options{ID: "c-1"}), limits, s.now)
		require.ErrorIs(s, err, errMayNot)
		require.NotErrorIs(s, err, ledger.ErrConflict)
		require.Equal(s, []string{"vm-1 c-1", "vm-1 c-1", "vm-1 c-1", "vm-1 c-1"}, asked)
		s.acked("vm-1", there.Command.ID, ack.Succeeded)
	}
	a, err := s.l.Append(s.Context(), "vm-2", s.command(command.Options{ID: "c-2", IdempotencyKey: "k"}), limits, s.now)
	require.NoError(s, err, "a key is for one VM")
	require.True(s, a.Created)
}

// Between the question and the append no other append gets in: nothing of type a is ever ended by one of type b.
func testMayEndAtOnce(s *suite) {
	const each = 40
	var sends sync.WaitGroup
	for _, t := range []command.Type{"a", "b"} {
		for range 4 {
			sends.Go(func() {
				for range each {
					_, err := s.l.Append(s.Context(), "vm-1", s.raw(t, command.Options{SupersedeKey: "k"}), mayEnd(t), s.now)
					if err != nil && !errors.Is(err, errMayNot) {
						s.Error(err)
					}
				}
			})
		}
	}
	sends.Wait()
	all, err := s.l.List(s.Context(), "vm-1", 0, 8*each)
	require.NoError(s, err)
	kinds := map[command.Type]int{}
	for _, e := range all {
		kinds[e.Command.Type]++
	}
	require.Len(s, kinds, 1, "the first one's type is the only one that gets in")
}
