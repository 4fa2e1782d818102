package bolt_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

func open(t *testing.T, dir string) *bolt.Ledger {
	t.Helper()
	l, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func appendTo(t *testing.T, l ledger.Ledger, o command.Options) string {
	t.Helper()
	c, err := command.New(command.Drain{}, o)
	require.NoError(t, err)
	_, err = l.Append(t.Context(), "vm-1", c, ledger.Limits{}, time.Now())
	require.NoError(t, err)
	return c.ID
}

func settle(t *testing.T, l ledger.Ledger, id string, stage ack.Stage) {
	t.Helper()
	edited, err := l.Update(t.Context(), "vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
		return e.Acked(ack.Ack{CommandID: id, Stage: stage, Attempt: 1}, ledger.Speaker{}, time.Now())
	}})
	require.NoError(t, err)
	require.NoError(t, edited[0].Err)
}

// Wherever a crash cuts the log, a command that supersedes another and the end of that one are there
// together, or neither.
func TestTornLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	older := appendTo(t, l, command.Options{SupersedeKey: "k"})
	require.NoError(t, l.Close())
	path := filepath.Join(dir, bolt.LogName)
	before, err := os.ReadFile(path)
	require.NoError(t, err)
	l = open(t, dir)
	newer := appendTo(t, l, command.Options{SupersedeKey: "k"})
	require.NoError(t, l.Close())
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, before, after[:len(before)])

	for cut := len(before); cut <= len(after); cut++ {
		require.NoError(t, os.WriteFile(path, after[:cut], 0o600))
		l := open(t, dir)
		e, err := l.Get(t.Context(), older)
		require.NoError(t, err)
		_, err = l.Get(t.Context(), newer)
		if cut == len(after) {
			require.NoError(t, err)
			require.Equal(t, ack.Superseded, e.State.Stage)
		} else {
			require.ErrorIs(t, err, ledger.ErrNotFound, "cut at %d of %d", cut, len(after))
			require.Equal(t, ack.Queued, e.State.Stage)
		}
		require.NoError(t, l.Close())
	}
}

// A log that is not what it should be is an error, and is left as it is.
func TestLogErrors(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	appendTo(t, l, command.Options{})
	appendTo(t, l, command.Options{})
	require.NoError(t, l.Close())
	path := filepath.Join(dir, bolt.LogName)
	good, err := os.ReadFile(path)
	require.NoError(t, err)
	damaged := append([]byte(nil), good...)
	damaged[60] ^= 1
	other := t.TempDir()
	require.NoError(t, open(t, other).Close())
	others, err := os.ReadFile(filepath.Join(other, bolt.LogName))
	require.NoError(t, err)
	for _, test := range []struct {
		content []byte
		message string
	}{
		{damaged, "ledger.log: damaged"},
		{others, "ledger.log is not of this ledger.db"},
		{[]byte{}, "ledger.log is missing"},
		{nil, "ledger.log is missing"},
	} {
		require.NoError(t, os.Remove(path))
		if test.content != nil {
			require.NoError(t, os.WriteFile(path, test.content, 0o600))
		}
		for range 2 {
			_, err := bolt.Open(dir, bolt.Options{})
			require.ErrorContains(t, err, dir)
			require.ErrorContains(t, err, test.message)
		}
	}
	require.NoError(t, os.WriteFile(path, good, 0o600))
	_, err = bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
}

// What has come into the archive may still be in the log, as a crash before it was written anew leaves it:
// it counts once, in its latest state.
func TestArchivedAndInTheLog(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var ids []string
	for range 1500 { // more than are archived together
		id := appendTo(t, l, command.Options{IdempotencyKey: fmt.Sprint("k", len(ids))})
		settle(t, l, id, ack.Succeeded)
		ids = append(ids, id)
	}
	waiting := appendTo(t, l, command.Options{})
	path := filepath.Join(dir, bolt.LogName)
	old, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoError(t, open(t, dir).Close()) // writes the log anew
	short, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Less(t, len(short), len(old)/2, "most is in the archive alone")
	require.NoError(t, os.WriteFile(path, old, 0o600))

	l = open(t, dir)
	entries, err := l.List(t.Context(), "vm-1", 0, 1<<20)
	require.NoError(t, err)
	require.Len(t, entries, len(ids)+1)
	for i, e := range entries {
		require.EqualValues(t, len(entries)-i, e.Seq)
	}
	pending, err := l.Pending(t.Context(), "vm-1", ledger.Normal, 0, 0)
	require.NoError(t, err)
	require.Len(t, pending, 1)
	require.Equal(t, waiting, pending[0].Command.ID)

	n, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 1<<20)
	require.NoError(t, err)
	require.Equal(t, len(ids), n)
	require.NoError(t, l.Close())
	l = open(t, dir)
	entries, err = l.List(t.Context(), "vm-1", 0, 1<<20)
	require.NoError(t, err)
	require.Len(t, entries, 1, "what is forgotten does not come back")
	appendTo(t, l, command.Options{IdempotencyKey: "k0"})
	entries, err = l.List(t.Context(), "vm-1", 0, 1<<20)
	require.NoError(t, err)
	require.EqualValues(t, len(ids)+2, entries[0].Seq)
}
