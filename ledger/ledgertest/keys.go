package ledgertest

import (
	"fmt"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// away appends a command of a VM that has no link.
func (s *suite) away(vm string, o command.Options) ledger.Appended {
	s.Helper()
	a, err := s.l.Append(s.Context(), vm, s.command(o), ledger.Limits{Away: true}, s.now)
	require.NoError(s, err)
	return a
}

// expire concludes a command as the controller does when its time has passed.
func (s *suite) expire(vm, id string) {
	s.Helper()
	out, err := s.l.Update(s.Context(), vm, ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		e.Conclude(ack.Expired, "", "", s.now)
		return nil
	}})
	require.NoError(s, err)
	require.True(s, out[0].Changed)
}

// testKeyFree: a key that is free becomes that of the next command, of whatever content; the one before stays, without it.
func testKeyFree(s *suite) {
	first := s.away("vm-1", command.Options{IdempotencyKey: "k"}).Entry
	require.True(s, first.Unsent)
	require.Equal(s, first.Command.ID, s.away("vm-1", command.Options{IdempotencyKey: "k"}).Entry.Command.ID, "it waits, and has its key")
	s.expire("vm-1", first.Command.ID)

	drain, err := command.New(command.Drain{}, command.Options{IdempotencyKey: "k"})
	require.NoError(s, err)
	second := s.appendCommand("vm-1", drain)
	require.False(s, second.Unsent, "the VM has a link")
	require.Equal(s, ack.Expired, s.get(first.Command.ID).State.Stage)
	a, err := s.l.Append(s.Context(), "vm-1", *first.Command, ledger.Limits{}, s.now)
	require.NoError(s, err)
	require.False(s, a.Created, "an ID is one command for ever")
	require.Equal(s, first.Command.ID, a.Entry.Command.ID)
	require.ErrorIs(s, s.refused(command.Options{IdempotencyKey: "k"}), ledger.ErrConflict, "the key is the drain's")

	// The word of the agent frees it again, and the second is handed on as the first was.
	s.acked("vm-1", drain.ID, ack.Rejected)
	third := s.away("vm-1", command.Options{IdempotencyKey: "k"})
	require.True(s, third.Created)
	out, err := s.l.Update(s.Context(), "vm-1", ledger.Edit{ID: third.Entry.Command.ID, Do: (*ledger.Entry).Send})
	require.NoError(s, err)
	require.True(s, out[0].Changed)
	s.expire("vm-1", third.Entry.Command.ID)
	require.False(s, s.away("vm-1", command.Options{IdempotencyKey: "k"}).Created, "it was handed out, and may have run")

	refused := fmt.Errorf("refused")
	_, err = s.l.Append(s.Context(), "vm-2", s.command(command.Options{IdempotencyKey: "k"}), ledger.Limits{Away: true}, s.now)
	require.NoError(s, err)
	s.expire("vm-2", s.list("vm-2")[0].Command.ID)
	_, err = s.l.Append(s.Context(), "vm-2", s.command(command.Options{IdempotencyKey: "k"}), ledger.Limits{MayKnow: func(*ledger.Entry) error { return refused }}, s.now)
	require.ErrorIs(s, err, refused, "also that a key is free is something about the command that had it")
}

func (s *suite) refused(o command.Options) error {
	_, err := s.l.Append(s.Context(), "vm-1", s.command(o), ledger.Limits{}, s.now)
	return err
}

// testKeyFreePrune: what had a key before is forgotten, and takes nothing along.
func testKeyFreePrune(s *suite) {
	first := s.away("vm-1", command.Options{IdempotencyKey: "k"}).Entry
	s.expire("vm-1", first.Command.ID)
	s.now = s.now.Add(time.Hour)
	second := s.away("vm-1", command.Options{IdempotencyKey: "k"}).Entry
	prune := func(n int) {
		got, err := s.l.Prune(s.Context(), s.now, 10)
		require.NoError(s, err)
		require.Equal(s, n, got)
	}
	taken := func() {
		s.Helper()
		a := s.away("vm-1", command.Options{IdempotencyKey: "k"})
		require.False(s, a.Created)
		require.Equal(s, second.Command.ID, a.Entry.Command.ID)
	}
	prune(1)
	taken()
	s.acked("vm-1", second.Command.ID, ack.Succeeded)
	third := s.append("vm-1", command.Options{})
	s.acked("vm-1", third.Command.ID, ack.Succeeded)
	prune(0)
	taken()
	s.now = s.now.Add(time.Hour)
	prune(2)
	require.True(s, s.away("vm-1", command.Options{IdempotencyKey: "k"}).Created)
}

// testKeyFreeReopen: who has a key, and whether it is free, is durable.
func testKeyFreeReopen(s *suite) {
	for i := range 3 {
		vm, key := fmt.Sprint("vm-", i), command.Options{IdempotencyKey: "k"}
		first := s.away(vm, key).Entry
		s.reopen()
		require.True(s, s.get(first.Command.ID).Unsent)
		s.expire(vm, first.Command.ID)
		if i > 0 {
			s.reopen()
		}
		second := s.away(vm, key)
		require.True(s, second.Created)
		s.acked(vm, second.Entry.Command.ID, ack.Succeeded)
		if i > 1 { // what is to be forgotten goes into the archive, and what is settled along with it
			old := s.append("vm-old", command.Options{})
			s.acked("vm-old", old.Command.ID, ack.Succeeded)
			_, err := s.l.Prune(s.Context(), s.now.Add(time.Nanosecond), 1)
			require.NoError(s, err)
		}
		s.reopen()
		again := s.away(vm, key)
		require.False(s, again.Created)
		require.Equal(s, second.Entry.Command.ID, again.Entry.Command.ID)
	}
}
