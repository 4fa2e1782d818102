package bolt

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/ledger"
)

// byHand is a ledger whose commits are the test's, until it is closed.
type byHand struct{ *Ledger }

func openByHand(t require.TestingT, dir string) byHand {
	l, err := open(dir, Options{})
	require.NoError(t, err)
	return byHand{l}
}

func (l byHand) Close() error {
	go l.write()
	return l.Ledger.Close()
}

// ask makes a request of one commit, without the queue.
func ask(r request) *request {
	r.done = make(chan error, 1)
	return &r
}

func adds(t require.TestingT, vm, id, key, supersede string, now time.Time) *request {
	cmd, err := command.New(command.Drain{}, command.Options{ID: id, IdempotencyKey: key, SupersedeKey: supersede, TTL: time.Hour})
	require.NoError(t, err)
	return ask(request{vm: vm, add: &addition{cmd: cmd, now: now}})
}

func says(vm, id string, stage ack.Stage, now time.Time) *request {
	return ask(request{vm: vm, edits: []ledger.Edit{{ID: id, Do: func(e *ledger.Entry) error {
		return e.Acked(ack.Ack{CommandID: id, Stage: stage, Attempt: 1, Result: json.RawMessage("1")}, ledger.Speaker{}, now)
	}}}})
}

// What cannot be encoded fails alone, in a commit with others and in a call with others, and leaves nothing behind. Such a
// zone no rule of an entry looks for.
func TestWhatCannotBeEncodedFailsAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l := openByHand(t, dir)
	now := time.Now().UTC()
	odd := now.In(time.FixedZone("odd", 30*60*60))
	first := adds(t, "vm-1", "first", "", "k", now)
	l.commit([]*request{first})
	require.NoError(t, <-first.done)

	bad := adds(t, "vm-1", "bad", "key", "k", odd)
	alone := says("vm-1", "first", ack.Started, odd)
	among := says("vm-1", "first", ack.Received, now)
	among.edits = append(among.edits, alone.edits[0], says("vm-1", "first", ack.Started, now).edits[0])
	good := adds(t, "vm-1", "good", "key", "", now)
	batch := []*request{bad, alone, among, good}
	l.commit(batch)
	for _, r := range batch {
		require.NoError(t, <-r.done, "the store has not failed")
	}
	require.ErrorContains(t, bad.add.err, "timezone")
	require.ErrorContains(t, alone.edited[0].Err, "timezone")
	require.NoError(t, among.edited[0].Err)
	require.ErrorContains(t, among.edited[1].Err, "timezone")
	require.NoError(t, among.edited[2].Err)
	require.True(t, good.add.out.Created, "the key of what failed is free")
	require.EqualValues(t, 2, good.add.out.Entry.Seq, "and its number")
	same(t, l.Ledger)
	require.NoError(t, l.Close())

	again, err := Open(dir, Options{})
	require.NoError(t, err)
	defer again.Close()
	e, err := again.Get(t.Context(), "first")
	require.NoError(t, err)
	require.Equal(t, ack.Started, e.State.Stage)
	require.Len(t, e.History, 3)
	_, err = again.Get(t.Context(), "bad")
	require.ErrorIs(t, err, ledger.ErrNotFound)
}

// An entry of the archive to which nothing can be added is as it was.
func TestWhatCannotBeEncodedOfTheArchive(t *testing.T) {
	t.Parallel()
	l := openByHand(t, t.TempDir())
	defer l.Close()
	now := time.Now().UTC()
	add := adds(t, "vm-1", "c", "", "", now)
	dead := ask(request{vm: "vm-1", edits: []ledger.Edit{{ID: "c", Do: func(e *ledger.Entry) error { e.Conclude(ack.Dead, "", "", now); return nil }}}})
	l.commit([]*request{add, dead, ask(request{prune: &pruning{then: now.Add(time.Minute)}})})
	require.Nil(t, l.next.get("c"))
	late := says("vm-1", "c", ack.Succeeded, now.In(time.FixedZone("odd", 30*60*60)))
	other := adds(t, "vm-1", "other", "", "", now)
	l.commit([]*request{late, other})
	require.NoError(t, <-late.done)
	require.ErrorContains(t, late.edited[0].Err, "timezone")
	require.True(t, other.add.out.Created)
	e, err := l.Get(t.Context(), "c")
	require.NoError(t, err)
	require.Equal(t, ack.Dead, e.State.Stage)
}

// What is noted while a commit is on its way to the disk counts for readers as for the writer, on top of what is committed,
// and stays where the commit fails.
func TestANoteDuringACommit(t *testing.T) {
	t.Parallel()
	for _, fails := range []bool{false, true} {
		l := openByHand(t, t.TempDir())
		now := time.Now().UTC()
		l.commit([]*request{adds(t, "vm-1", "c", "", "", now)})
		s, err := l.stage([]*request{says("vm-1", "c", ack.Received, now)})
		require.NoError(t, err)
		noted := l.Note("vm-1", ledger.Edit{ID: "c", Do: func(e *ledger.Entry) error { e.Delivered(7, now); return nil }})
		require.True(t, noted[0].Changed)
		require.Equal(t, ack.Received, noted[0].Entry.State.Stage, "the writer has both")
		require.NoError(t, s.commit())
		if fails {
			l.publish(s, errors.New("the disk is full"))
		} else {
			l.publish(s, nil)
		}
		same(t, l.Ledger)
		e := l.live.get("c")
		require.Equal(t, 7, e.State.Attempt)
		require.Equal(t, fails, e.State.Stage == ack.Delivered)
		require.NoError(t, l.Close())
	}
}

// Whatever a commit was to do, if the disk fails all is as it was before: what waits, in its order, what is due, which keys
// are taken and which numbers come next. Then it goes on.
func TestAFailedCommitIsTakenBack(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		l := openByHand(t, tempDir(t))
		defer l.Close()
		broken, err := logfile.Create(filepath.Join(tempDir(t), "log"), "x", nil, 0)
		require.NoError(t, err)
		require.NoError(t, broken.Close())
		now, made, seqs := time.Now().UTC(), []string{}, map[string]uint64{}
		for range rapid.IntRange(1, 12).Draw(t, "commits") {
			var batch []*request
			var fresh []string
			for range rapid.IntRange(1, 6).Draw(t, "requests") {
				vm := rapid.SampledFrom([]string{"vm-1", "vm-2"}).Draw(t, "vm")
				ids := append(append([]string{}, made...), fresh...)
				if len(ids) == 0 || rapid.Bool().Draw(t, "adds") {
					id := vm + fmt.Sprint("/", len(ids))
					key := rapid.SampledFrom([]string{"", id, "shared"}).Draw(t, "key")
					fresh = append(fresh, id)
					batch = append(batch, adds(t, vm, id, key, rapid.SampledFrom([]string{"", "k"}).Draw(t, "supersedes"), now))
					continue
				}
				id := rapid.SampledFrom(ids).Draw(t, "id")
				stage := rapid.SampledFrom([]ack.Stage{ack.Received, ack.Started, ack.Progress, ack.Deferred, ack.Succeeded, ack.Rejected}).Draw(t, "stage")
				batch = append(batch, says(id[:4], id, stage, now))
			}
			if len(made) > 0 && rapid.Bool().Draw(t, "notes") {
				id := rapid.SampledFrom(made).Draw(t, "noted")
				l.Note(id[:4], ledger.Edit{ID: id, Do: func(e *ledger.Entry) error { e.Delivered(e.State.Attempt+1, now); return nil }})
			}
			good := l.log
			fails := rapid.Bool().Draw(t, "fails")
			dirty := len(l.dirty)
			if fails {
				l.log = broken
			}
			l.commit(batch)
			l.log = good
			same(t, l.Ledger)
			wrote := false
			for _, r := range batch {
				if err := <-r.done; err != nil {
					require.True(t, fails)
					wrote = true
				}
			}
			if fails && wrote {
				require.Len(t, l.dirty, dirty, "what was noted is still to be written")
				continue
			}
			for _, r := range batch {
				if r.add != nil && r.add.out.Created {
					made = append(made, r.add.cmd.ID)
					seqs[r.vm]++
					require.Equal(t, seqs[r.vm], r.add.out.Entry.Seq, "numbers have no gaps")
				}
			}
		}
	})
}

// tempDir is a directory that goes with a draw.
func tempDir(t *rapid.T) string {
	dir, err := os.MkdirTemp("", "ledger")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// same requires that what the writer goes on from is what readers see.
func same(t require.TestingT, l *Ledger) {
	require.Len(t, l.next.nodes, len(l.live.nodes))
	for id, n := range l.live.nodes {
		require.Equal(t, n.Entry(), l.next.get(id))
	}
	require.Equal(t, l.live.keys, l.next.keys)
	require.ElementsMatch(t, l.live.settledEntries(), l.next.settledEntries())
	for _, vm := range []string{"vm-1", "vm-2"} {
		for _, lane := range []ledger.Lane{ledger.Normal, ledger.Urgent} {
			require.Equal(t, l.live.Pending(vm, lane, 0, 0), l.next.Pending(vm, lane, 0, 0))
		}
		commands, bytes := l.live.Load(vm)
		nextCommands, nextBytes := l.next.Load(vm)
		require.Equal(t, []int{commands, bytes}, []int{nextCommands, nextBytes})
	}
	later := time.Now().Add(24 * time.Hour)
	due, _ := l.live.Due(later, 1000)
	nextDue, _ := l.next.Due(later, 1000)
	require.ElementsMatch(t, due, nextDue)
}
