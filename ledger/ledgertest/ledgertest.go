// Package ledgertest holds implementations of ledger.Ledger to their contract.
package ledgertest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Open opens the ledger in a directory. A durable one finds there what an earlier one has left.
type Open func(t *testing.T, dir string) ledger.Ledger

// Test runs the contract. A ledger that is not durable skips nothing but the tests of that.
func Test(t *testing.T, durable bool, open Open) {
	for _, c := range []struct {
		name string
		test func(s *suite)
	}{
		{"Append", testAppend},
		{"Idempotency", testIdempotency},
		{"KeyFree", testKeyFree},
		{"KeyFreePrune", testKeyFreePrune},
		{"Limits", testLimits},
		{"Supersede", testSupersede},
		{"MayEnd", testMayEnd},
		{"MayEndAtOnce", testMayEndAtOnce},
		{"MayKnow", testMayKnow},
		{"Lanes", testLanes},
		{"Update", testUpdate},
		{"Refusals", testRefusals},
		{"Note", testNote},
		{"Due", testDue},
		{"DueRuns", testDueRuns},
		{"Prune", testPrune},
		{"List", testList},
		{"VMs", testVMs},
		{"VMsInPages", testVMsInPages},
		{"VMsThatAreGone", testVMsThatAreGone},
		{"Snapshots", testSnapshots},
		{"Closed", testClosed},
		{"Canceled", testCanceled},
		{"CanceledMidway", testCanceledMidway},
		{"Concurrent", testConcurrent},
		{"Many", testMany},
		{"Secrets", testSecrets},
		{"SecretsOfUnknownTypes", testSecretsOfUnknownTypes},
		{"Redact", testRedact},
		{"Unreadable", testUnreadable},
		{"UnreadableTogether", testUnreadableTogether},
		{"Panics", testPanics},
		{"RedactPanics", testRedactPanics},
		{"WhiteSpace", testWhiteSpace},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(newSuite(t, open)) })
	}
	if durable {
		t.Run("Reopen", func(t *testing.T) { testReopen(newSuite(t, open)) })
		t.Run("KeyFreeReopen", func(t *testing.T) { testKeyFreeReopen(newSuite(t, open)) })
		t.Run("VMsThatAreGoneReopen", func(t *testing.T) { testVMsThatAreGoneReopen(newSuite(t, open)) })
		t.Run("SecretsReopen", func(t *testing.T) { testSecretsReopen(newSuite(t, open)) })
		t.Run("UnreadableReopen", func(t *testing.T) { testUnreadableReopen(newSuite(t, open)) })
	}
}

type suite struct {
	*testing.T
	open Open
	dir  string
	l    ledger.Ledger
	now  time.Time
}

func newSuite(t *testing.T, open Open) *suite {
	s := &suite{T: t, open: open, dir: t.TempDir(), now: time.Unix(1_700_000_000, 0).UTC()}
	s.l = open(t, s.dir)
	t.Cleanup(func() { s.l.Close() })
	return s
}

func (s *suite) reopen() {
	s.Helper()
	require.NoError(s, s.l.Close())
	s.l = s.open(s.T, s.dir)
}

func (s *suite) command(o command.Options) command.Command {
	s.Helper()
	c, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: 1}, o)
	require.NoError(s, err)
	return c
}

func (s *suite) append(vm string, o command.Options) *ledger.Entry {
	s.Helper()
	return s.appendCommand(vm, s.command(o))
}

func (s *suite) appendCommand(vm string, c command.Command) *ledger.Entry {
	s.Helper()
	a, err := s.l.Append(s.Context(), vm, c, ledger.Limits{}, s.now)
	require.NoError(s, err)
	require.True(s, a.Created)
	return a.Entry
}

func (s *suite) acked(vm, id string, stage ack.Stage) ledger.Edited {
	s.Helper()
	out, err := s.l.Update(s.Context(), vm, s.edit(id, stage))
	require.NoError(s, err)
	require.Len(s, out, 1)
	return out[0]
}

func (s *suite) edit(id string, stage ack.Stage) ledger.Edit {
	now := s.now
	return ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		return e.Acked(ack.Ack{CommandID: id, Stage: stage}, ledger.Speaker{}, now)
	}}
}

func (s *suite) get(id string) *ledger.Entry {
	s.Helper()
	e, err := s.l.Get(s.Context(), id)
	require.NoError(s, err)
	return e
}

func (s *suite) pending(vm string, lane ledger.Lane, after uint64, limit int) []string {
	s.Helper()
	entries, err := s.l.Pending(s.Context(), vm, lane, after, limit)
	require.NoError(s, err)
	return ids(entries)
}

func ids(entries []*ledger.Entry) []string {
	out := make([]string, len(entries))
	for i := range entries {
		out[i] = entries[i].Command.ID
	}
	return out
}

func testAppend(s *suite) {
	require.Regexp(s, `^[0-9A-Za-z]{1,32}$`, s.l.Epoch())
	for i := range uint64(3) {
		e := s.append("vm-1", command.Options{})
		require.Equal(s, i+1, e.Seq)
		require.Equal(s, "vm-1", e.VM)
		require.Equal(s, ack.Queued, e.State.Stage)
		require.Equal(s, e, s.get(e.Command.ID))
	}
	require.EqualValues(s, 1, s.append("vm-2", command.Options{}).Seq)
	_, err := s.l.Get(s.Context(), "nothing")
	require.ErrorIs(s, err, ledger.ErrNotFound)
}

func testIdempotency(s *suite) {
	c := s.command(command.Options{IdempotencyKey: "job"})
	first := s.appendCommand("vm-1", c)
	again := func(vm string, c command.Command) (ledger.Appended, error) {
		return s.l.Append(s.Context(), vm, c, ledger.Limits{Commands: 1}, s.now)
	}
	for range 2 { // before and after it is settled; a full queue is no matter
		a, err := again("vm-1", c)
		require.NoError(s, err)
		require.False(s, a.Created)
		require.Equal(s, first.Command.ID, a.Entry.Command.ID)
		byKey := c
		byKey.ID = "another"
		a, err = again("vm-1", byKey)
		require.NoError(s, err)
		require.False(s, a.Created)
		require.Equal(s, first.Command.ID, a.Entry.Command.ID)
		byKey.Parameters = command.Parameters(`{"config_key":"other","config_value":1}`)
		_, err = again("vm-1", byKey)
		require.ErrorIs(s, err, ledger.ErrConflict)
		_, err = again("vm-2", c)
		require.ErrorIs(s, err, ledger.ErrConflict, "an ID is for one VM")
		require.NotErrorIs(s, err, ledger.ErrReused, "and no other VM's sender is told of it")
		sameID := c
		sameID.CreatedAt = command.Created(c.CreatedAt).Add(time.Millisecond)
		_, err = again("vm-1", sameID)
		require.ErrorIs(s, err, ledger.ErrReused)
		require.ErrorIs(s, err, ledger.ErrConflict)
		require.ErrorContains(s, err, string(s.get(first.Command.ID).State.Stage))
		sameID.IdempotencyKey, sameID.ID = c.IdempotencyKey, "of the same key"
		a, err = again("vm-1", sameID)
		require.NoError(s, err, "a key is not made with the command")
		require.Equal(s, first.Command.ID, a.Entry.Command.ID)
		s.acked("vm-1", first.Command.ID, ack.Succeeded)
	}
	foreign := s.append("vm-2", command.Options{IdempotencyKey: "job"})
	require.NotEqual(s, first.Command.ID, foreign.Command.ID, "keys are per VM")
}

func testLimits(s *suite) {
	limits := ledger.Limits{Commands: 2}
	one := s.append("vm-1", command.Options{})
	s.append("vm-1", command.Options{})
	_, err := s.l.Append(s.Context(), "vm-1", s.command(command.Options{}), limits, s.now)
	require.ErrorIs(s, err, ledger.ErrFull)
	require.Len(s, s.pending("vm-1", ledger.Normal, 0, 0), 2, "nothing was stored")
	s.acked("vm-1", one.Command.ID, ack.Failed)
	a, err := s.l.Append(s.Context(), "vm-1", s.command(command.Options{}), limits, s.now)
	require.NoError(s, err)
	require.EqualValues(s, 3, a.Entry.Seq, "a refusal uses no number")

	size := len(a.Entry.Command.Parameters)
	_, err = s.l.Append(s.Context(), "vm-2", s.command(command.Options{}), ledger.Limits{Bytes: size}, s.now)
	require.NoError(s, err)
	_, err = s.l.Append(s.Context(), "vm-2", s.command(command.Options{}), ledger.Limits{Bytes: 2*size - 1}, s.now)
	require.ErrorIs(s, err, ledger.ErrFull)
}

func testSupersede(s *suite) {
	v1 := s.append("vm-1", command.Options{SupersedeKey: "k"})
	running := s.append("vm-2", command.Options{SupersedeKey: "k"})
	s.acked("vm-2", running.Command.ID, ack.Started)
	// It makes room for itself.
	a, err := s.l.Append(s.Context(), "vm-1", s.command(command.Options{SupersedeKey: "k"}), ledger.Limits{Commands: 1}, s.now)
	require.NoError(s, err)
	require.Equal(s, []string{v1.Command.ID}, ids(a.Superseded))
	require.Equal(s, ack.Superseded, a.Superseded[0].State.Stage)
	require.Equal(s, ack.Superseded, s.get(v1.Command.ID).State.Stage)
	require.Equal(s, []string{a.Entry.Command.ID}, s.pending("vm-1", ledger.Normal, 0, 0))
	s.append("vm-2", command.Options{SupersedeKey: "k"})
	require.Equal(s, ack.Started, s.get(running.Command.ID).State.Stage, "what has started goes on")
}

func testLanes(s *suite) {
	var normal, urgent []string
	for i := range 6 {
		e := s.append("vm-1", command.Options{Urgent: i%3 == 0})
		if i%3 == 0 {
			urgent = append(urgent, e.Command.ID)
		} else {
			normal = append(normal, e.Command.ID)
		}
	}
	require.Equal(s, urgent, s.pending("vm-1", ledger.Urgent, 0, 0))
	require.Equal(s, normal, s.pending("vm-1", ledger.Normal, 0, 0))
	require.Equal(s, normal[:2], s.pending("vm-1", ledger.Normal, 0, 2))
	require.Equal(s, normal[1:], s.pending("vm-1", ledger.Normal, 2, 0))
	require.Empty(s, s.pending("vm-1", ledger.Normal, 6, 0))
	require.Empty(s, s.pending("vm-2", ledger.Normal, 0, 0))
	s.acked("vm-1", normal[1], ack.Succeeded)
	require.Equal(s, slices.Delete(slices.Clone(normal), 1, 2), s.pending("vm-1", ledger.Normal, 0, 0))
}

func testUpdate(s *suite) {
	e := s.append("vm-1", command.Options{})
	id := e.Command.ID
	out := s.acked("vm-1", id, ack.Started)
	require.True(s, out.Changed)
	require.Equal(s, ack.Started, out.Entry.State.Stage)
	require.Equal(s, out.Entry, s.get(id))
	out = s.acked("vm-1", id, ack.Received)
	require.False(s, out.Changed)
	require.Equal(s, ack.Started, out.Entry.State.Stage)
	out = s.acked("vm-1", id, ack.Succeeded)
	require.True(s, out.Changed)
	require.Empty(s, s.pending("vm-1", ledger.Normal, 0, 0))
	require.Equal(s, ack.Succeeded, s.get(id).State.Stage)
	require.Len(s, s.get(id).History, 3)
}

func testRefusals(s *suite) {
	e := s.append("vm-1", command.Options{})
	other := s.append("vm-1", command.Options{})
	out, err := s.l.Update(s.Context(), "vm-1",
		ledger.Edit{ID: e.Command.ID, Do: func(e *ledger.Entry) error {
			e.Conclude(ack.Dead, "", "half done", s.now)
			return transport.ErrCommandCanceled
		}},
		s.edit("nothing", ack.Succeeded),
		s.edit(other.Command.ID, ack.Succeeded),
	)
	require.NoError(s, err)
	require.ErrorIs(s, out[0].Err, transport.ErrCommandCanceled)
	require.ErrorIs(s, out[1].Err, ledger.ErrNotFound)
	require.NoError(s, out[2].Err)
	require.Equal(s, ack.Queued, s.get(e.Command.ID).State.Stage, "a failed edit leaves its entry")
	require.Equal(s, ack.Succeeded, s.get(other.Command.ID).State.Stage, "and the others alone")
	require.ErrorIs(s, s.acked("vm-2", e.Command.ID, ack.Succeeded).Err, ledger.ErrNotFound, "another VM's command")
}

func testNote(s *suite) {
	e := s.append("vm-1", command.Options{})
	id := e.Command.ID
	delivered := func(n int) ledger.Edit {
		return ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
			e.Delivered(n, s.now)
			return nil
		}}
	}
	s.l.Note("vm-1", delivered(1))
	s.l.Note("vm-2", delivered(7))
	s.l.Note("vm-1", ledger.Edit{ID: "nothing", Do: func(*ledger.Entry) error { return nil }})
	require.Equal(s, ack.State{Stage: ack.Delivered, Attempt: 1}, s.get(id).State)
	entries, err := s.l.Pending(s.Context(), "vm-1", ledger.Normal, 0, 0)
	require.NoError(s, err)
	require.Equal(s, 1, entries[0].State.Attempt)
	s.l.Note("vm-1", delivered(2))
	out := s.acked("vm-1", id, ack.Received)
	require.Equal(s, 2, out.Entry.State.Attempt, "a later update builds on the note")
	s.acked("vm-1", id, ack.Failed)
	settled := s.get(id)
	out = s.l.Note("vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error { e.Reason = "noted"; return nil }})[0]
	require.False(s, out.Changed, "what is settled is not noted")
	require.Equal(s, settled, s.get(id))
}

func testDue(s *suite) {
	late := s.append("vm-1", command.Options{TTL: time.Hour})
	soon := s.append("vm-2", command.Options{TTL: time.Minute})
	s.append("vm-1", command.Options{})
	running := s.append("vm-1", command.Options{TTL: time.Second})
	s.acked("vm-1", running.Command.ID, ack.Started)
	due := func(at time.Time, limit int) ([]string, time.Time) {
		entries, next, err := s.l.Due(s.Context(), at, limit)
		require.NoError(s, err)
		return ids(entries), next
	}
	got, next := due(s.now, 10)
	require.Empty(s, got)
	require.True(s, soon.Command.ExpiresAt.Equal(next))
	for range 2 { // they stay due until they are concluded
		got, next = due(soon.Command.ExpiresAt, 10)
		require.Equal(s, []string{soon.Command.ID}, got)
		require.True(s, late.Command.ExpiresAt.Equal(next))
	}
	got, next = due(late.Command.ExpiresAt, 1)
	require.Equal(s, []string{soon.Command.ID}, got)
	require.True(s, late.Command.ExpiresAt.Equal(next))
	s.acked("vm-2", soon.Command.ID, ack.Expired)
	got, next = due(late.Command.ExpiresAt, 10)
	require.Equal(s, []string{late.Command.ID}, got)
	require.True(s, next.IsZero())
	// What had started may wait again.
	s.acked("vm-1", running.Command.ID, ack.Deferred)
	got, _ = due(running.Command.ExpiresAt, 10)
	require.Equal(s, []string{running.Command.ID}, got)
}

// testDueRuns is of runs that are limited: when they fall due changes, and is sooner than what was due next.
func testDueRuns(s *suite) {
	waits := s.append("vm-1", command.Options{TTL: time.Hour})
	limited := s.append("vm-1", command.Options{TTL: 2 * time.Hour, RunTimeout: time.Minute})
	longer := s.append("vm-2", command.Options{RunTimeout: 10 * time.Minute})
	ends := func(e *ledger.Entry) time.Time {
		return s.now.Add(time.Duration(e.Command.RunTimeout) + ledger.RunGrace + ledger.RunSlack)
	}
	due := func(at time.Time, limit int) ([]string, time.Time) {
		entries, next, err := s.l.Due(s.Context(), at, limit)
		require.NoError(s, err)
		return ids(entries), next
	}
	check := func(soonest, second *ledger.Entry, at, then time.Time) {
		got, next := due(at.Add(-time.Millisecond), 10)
		require.Empty(s, got)
		require.True(s, at.Equal(next), "%s, not %s", next, at)
		got, next = due(at, 10)
		require.Equal(s, []string{soonest.Command.ID}, got)
		require.True(s, then.Equal(next), "%s, not %s", next, then)
		got, _ = due(then, 10)
		require.Equal(s, []string{soonest.Command.ID, second.Command.ID}, got)
	}
	s.acked("vm-2", longer.Command.ID, ack.Started)
	check(longer, waits, ends(longer), waits.Command.ExpiresAt)
	s.acked("vm-1", limited.Command.ID, ack.Started)
	check(limited, longer, ends(limited), ends(longer))
	s.acked("vm-1", limited.Command.ID, ack.Deferred)
	check(longer, waits, ends(longer), waits.Command.ExpiresAt)
	s.acked("vm-1", limited.Command.ID, ack.Succeeded)
	s.acked("vm-1", waits.Command.ID, ack.Succeeded)
	s.acked("vm-2", longer.Command.ID, ack.Progress)
	got, next := due(ends(longer), 10)
	require.Equal(s, []string{longer.Command.ID}, got)
	require.True(s, next.IsZero())
}

func testPrune(s *suite) {
	old := s.append("vm-1", command.Options{IdempotencyKey: "a"})
	s.append("vm-1", command.Options{})
	s.acked("vm-1", old.Command.ID, ack.Succeeded)
	s.now = s.now.Add(time.Hour)
	newer := s.append("vm-1", command.Options{})
	s.acked("vm-1", newer.Command.ID, ack.Succeeded)
	n, err := s.l.Prune(s.Context(), s.now, 10)
	require.NoError(s, err)
	require.Equal(s, 1, n)
	_, err = s.l.Get(s.Context(), old.Command.ID)
	require.ErrorIs(s, err, ledger.ErrNotFound)
	require.Len(s, s.pending("vm-1", ledger.Normal, 0, 0), 1)
	require.Equal(s, ack.Succeeded, s.get(newer.Command.ID).State.Stage)
	again := s.append("vm-1", command.Options{ID: old.Command.ID, IdempotencyKey: "a"})
	require.EqualValues(s, 4, again.Seq, "a number is used once")
	n, err = s.l.Prune(s.Context(), s.now.Add(time.Hour), 0)
	require.NoError(s, err)
	require.Zero(s, n)
}

func testList(s *suite) {
	var all []string
	for i := range 5 {
		e := s.append("vm-1", command.Options{Urgent: i == 2})
		all = append([]string{e.Command.ID}, all...)
		if i == 1 {
			s.acked("vm-1", e.Command.ID, ack.Failed)
		}
	}
	s.append("vm-0", command.Options{})
	s.append("vm-10", command.Options{})
	list := func(before uint64, limit int) []string {
		entries, err := s.l.List(s.Context(), "vm-1", before, limit)
		require.NoError(s, err)
		return ids(entries)
	}
	require.Equal(s, all, list(0, 10))
	require.Equal(s, all[:2], list(0, 2))
	require.Equal(s, all[2:4], list(4, 2))
	require.Empty(s, list(1, 10))
	entries, err := s.l.List(s.Context(), "vm", 0, 10)
	require.NoError(s, err)
	require.Empty(s, entries)
}

func testVMs(s *suite) {
	s.append("b", command.Options{})
	done := s.append("a", command.Options{})
	s.append("b", command.Options{Urgent: true})
	s.acked("a", done.Command.ID, ack.Succeeded)
	require.Equal(s, []ledger.VM{{Name: "a"}, {Name: "b", Pending: 2}}, s.vms(ledger.VMQuery{}))
}

// testSnapshots goes on with a command of which others hold earlier states.
func testSnapshots(s *suite) {
	e := s.append("vm-1", command.Options{})
	id := e.Command.ID
	entries, err := s.l.Pending(s.Context(), "vm-1", ledger.Normal, 0, 0)
	require.NoError(s, err)
	held := append(entries, e, s.get(id))
	noted := s.l.Note("vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		e.Delivered(1, s.now)
		return nil
	}})
	require.True(s, noted[0].Changed)
	s.acked("vm-1", id, ack.Succeeded)
	for _, e := range held {
		require.Equal(s, ack.State{Stage: ack.Queued}, e.State)
		require.Len(s, e.History, 1)
	}
	require.Equal(s, ack.Delivered, noted[0].Entry.State.Stage)
	require.Len(s, noted[0].Entry.History, 2)
	require.Len(s, s.get(id).History, 3)
}

func testClosed(s *suite) {
	e := s.append("vm-1", command.Options{})
	require.NoError(s, s.l.Close())
	require.NoError(s, s.l.Close())
	ctx := s.Context()
	_, err := s.l.Append(ctx, "vm-1", s.command(command.Options{}), ledger.Limits{}, s.now)
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, err = s.l.Update(ctx, "vm-1", s.edit(e.Command.ID, ack.Started))
	require.ErrorIs(s, err, ledger.ErrClosed)
	s.l.Note("vm-1", s.edit(e.Command.ID, ack.Started))
	_, err = s.l.Get(ctx, e.Command.ID)
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, err = s.l.Pending(ctx, "vm-1", ledger.Normal, 0, 0)
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, err = s.l.List(ctx, "vm-1", 0, 1)
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, err = s.l.VMs(ctx, ledger.VMQuery{})
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, _, err = s.l.Due(ctx, s.now, 1)
	require.ErrorIs(s, err, ledger.ErrClosed)
	_, err = s.l.Prune(ctx, s.now, 1)
	require.ErrorIs(s, err, ledger.ErrClosed)
}

func testCanceled(s *suite) {
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	_, err := s.l.Append(ctx, "vm-1", s.command(command.Options{}), ledger.Limits{}, s.now)
	require.ErrorIs(s, err, context.Canceled)
	_, err = s.l.Get(ctx, "x")
	require.ErrorIs(s, err, context.Canceled)
}

// testCanceledMidway ends contexts while writes are under way: whatever is returned is what happened.
func testCanceledMidway(s *suite) {
	for i := range 200 {
		ctx, cancel := context.WithCancel(s.Context())
		time.AfterFunc(time.Duration(i)*20*time.Microsecond, cancel)
		cmd := s.command(command.Options{})
		_, err := s.l.Append(ctx, "vm-1", cmd, ledger.Limits{}, s.now)
		_, missing := s.l.Get(s.Context(), cmd.ID)
		if err != nil {
			require.ErrorIs(s, err, context.Canceled)
			require.ErrorIs(s, missing, ledger.ErrNotFound)
			continue
		}
		require.NoError(s, missing)
		_, err = s.l.Update(ctx, "vm-1", s.edit(cmd.ID, ack.Started))
		cancel()
		stage := ack.Started
		if err != nil {
			require.ErrorIs(s, err, context.Canceled)
			stage = ack.Queued
		}
		require.Equal(s, stage, s.get(cmd.ID).State.Stage)
	}
}

// testConcurrent has writers of several VMs at once, and readers beside them.
func testConcurrent(s *suite) {
	const vms, each = 6, 40
	var writers, readers sync.WaitGroup
	ctx, stop := context.WithCancel(s.Context())
	for i := range vms {
		vm := fmt.Sprintf("vm-%d", i)
		writers.Go(func() {
			for n := range each {
				c, err := command.New(command.Drain{}, command.Options{})
				if err != nil {
					s.Error(err)
					return
				}
				a, err := s.l.Append(ctx, vm, c, ledger.Limits{}, s.now)
				if err != nil || a.Entry.Seq != uint64(n+1) {
					s.Errorf("append %d: seq %d, %v", n, a.Entry.Seq, err)
					return
				}
				s.l.Note(vm, ledger.Edit{ID: c.ID, Do: func(e *ledger.Entry) error {
					e.Delivered(1, s.now)
					return nil
				}})
				out, err := s.l.Update(ctx, vm, s.edit(c.ID, ack.Started), s.edit(c.ID, ack.Succeeded))
				if err != nil || out[1].Entry.State != (ack.State{Stage: ack.Succeeded, Attempt: 1}) {
					s.Errorf("update %d: %+v, %v", n, out, err)
					return
				}
			}
		})
		readers.Go(func() {
			var last uint64
			for ctx.Err() == nil {
				entries, err := s.l.List(ctx, vm, 0, 1)
				if err != nil && ctx.Err() == nil {
					s.Error(err)
				}
				for _, e := range entries {
					if e.Seq < last {
						s.Errorf("%s went back from %d to %d", vm, last, e.Seq)
					}
					last = e.Seq
				}
				_, _ = s.l.Pending(ctx, vm, ledger.Normal, 0, 0)
			}
		})
	}
	writers.Wait()
	stop()
	readers.Wait()
	for i := range vms {
		vm := fmt.Sprintf("vm-%d", i)
		require.Empty(s, s.pending(vm, ledger.Normal, 0, 0))
		entries, err := s.l.List(s.Context(), vm, 0, 2*each)
		require.NoError(s, err)
		require.Len(s, entries, each)
	}
}

// testMany settles more than a ledger keeps at hand, half of them by a verdict, which the agent's word
// replaces later.
func testMany(s *suite) {
	const vms, each = 3, 500
	vm := func(i int) string { return fmt.Sprintf("vm-%d", i%vms) }
	commands := make([]command.Command, vms*each)
	at := make(chan int)
	var workers sync.WaitGroup
	for range 100 {
		workers.Go(func() {
			for i := range at {
				_, err := s.l.Append(s.Context(), vm(i), commands[i], ledger.Limits{}, s.now)
				edit := s.edit(commands[i].ID, ack.Succeeded)
				if i%2 == 0 {
					edit.Do = func(e *ledger.Entry) error {
						e.Conclude(ack.Dead, "", "", s.now)
						return nil
					}
				}
				if err == nil {
					_, err = s.l.Update(s.Context(), vm(i), edit)
				}
				if err != nil {
					s.Error(err)
				}
			}
		})
	}
	for i := range commands {
		commands[i] = s.command(command.Options{IdempotencyKey: fmt.Sprintf("k-%d", i)})
		at <- i
	}
	close(at)
	workers.Wait()
	check := func(stages ...ack.Stage) {
		s.Helper()
		for i, c := range commands {
			e := s.get(c.ID)
			require.Equal(s, vm(i), e.VM)
			require.Equal(s, stages[i%2], e.State.Stage)
			again := c
			again.ID = "another"
			a, err := s.l.Append(s.Context(), vm(i), again, ledger.Limits{}, s.now)
			require.NoError(s, err)
			require.False(s, a.Created)
			require.Equal(s, c.ID, a.Entry.Command.ID)
		}
		for i := range vms {
			seq := uint64(each)
			for before := uint64(0); seq > 0; {
				entries, err := s.l.List(s.Context(), vm(i), before, 70)
				require.NoError(s, err)
				require.NotEmpty(s, entries)
				for _, e := range entries {
					require.Equal(s, seq, e.Seq)
					before = seq
					seq--
				}
			}
		}
	}
	check(ack.Dead, ack.Succeeded)
	for i := 0; i < len(commands); i += 2 {
		require.True(s, s.acked(vm(i), commands[i].ID, ack.Failed).Changed)
		if i > 100 { // the disk takes its time
			i += 30
		}
	}
	require.Equal(s, ack.Failed, s.get(commands[0].ID).State.Stage)
	n, err := s.l.Prune(s.Context(), s.now.Add(time.Hour), 10*len(commands))
	require.NoError(s, err)
	require.Equal(s, len(commands), n)
	_, err = s.l.Get(s.Context(), commands[0].ID)
	require.ErrorIs(s, err, ledger.ErrNotFound)
	require.Empty(s, s.list(vm(0)))
}

func testReopen(s *suite) {
	epoch := s.l.Epoch()
	settled := s.append("vm-1", command.Options{IdempotencyKey: "a"})
	s.acked("vm-1", settled.Command.ID, ack.Succeeded)
	waiting := s.append("vm-1", command.Options{TTL: time.Hour})
	noted := s.append("vm-1", command.Options{Urgent: true})
	s.l.Note("vm-1", ledger.Edit{ID: noted.Command.ID, Do: func(e *ledger.Entry) error {
		e.Delivered(3, s.now)
		return nil
	}})
	want := map[string]*ledger.Entry{}
	for _, e := range []*ledger.Entry{settled, waiting, noted} {
		want[e.Command.ID] = s.get(e.Command.ID)
	}
	s.reopen()
	require.Equal(s, epoch, s.l.Epoch())
	for id, e := range want {
		require.Equal(s, e, s.get(id))
	}
	require.Equal(s, []string{waiting.Command.ID}, s.pending("vm-1", ledger.Normal, 0, 0))
	require.Equal(s, []string{noted.Command.ID}, s.pending("vm-1", ledger.Urgent, 0, 0))
	due, _, err := s.l.Due(s.Context(), waiting.Command.ExpiresAt, 1)
	require.NoError(s, err)
	require.Equal(s, []string{waiting.Command.ID}, ids(due))
	require.EqualValues(s, 4, s.append("vm-1", command.Options{}).Seq)
	a, err := s.l.Append(s.Context(), "vm-1", *settled.Command, ledger.Limits{}, s.now)
	require.NoError(s, err)
	require.False(s, a.Created)

	for _, e := range s.list("vm-1") {
		s.acked("vm-1", e.Command.ID, ack.Failed)
	}
	_, err = s.l.Prune(s.Context(), s.now.Add(time.Hour), 100)
	require.NoError(s, err)
	require.Empty(s, s.list("vm-1"))
	s.reopen()
	require.EqualValues(s, 5, s.append("vm-1", command.Options{}).Seq, "a number is used once")
}

func (s *suite) list(vm string) []*ledger.Entry {
	s.Helper()
	entries, err := s.l.List(s.Context(), vm, 0, 100)
	require.NoError(s, err)
	return entries
}
