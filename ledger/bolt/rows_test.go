package bolt

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	bolt "go.etcd.io/bbolt"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// What a ledger keeps in memory of a VM goes with its row.
func TestNumbersOfVMsThatAreGone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for _, reopened := range []bool{false, true} {
		l, err := Open(dir, Options{})
		require.NoError(t, err)
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		_, err = l.Append(t.Context(), "vm-1", cmd, ledger.Limits{}, cmd.CreatedAt)
		require.NoError(t, err)
		_, err = l.Update(t.Context(), "vm-1", ledger.Edit{ID: cmd.ID, Do: func(e *ledger.Entry) error {
			e.Conclude(ack.Dead, "", "", cmd.CreatedAt)
			return nil
		}})
		require.NoError(t, err)
		if reopened {
			require.NoError(t, l.Close())
			l, err = Open(dir, Options{})
			require.NoError(t, err)
		}
		require.Len(t, l.recentSeqs, map[bool]int{true: 1}[reopened])
		n, err := l.Prune(t.Context(), cmd.CreatedAt.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		require.Empty(t, l.seqs)
		require.Empty(t, l.recentSeqs)
		require.NoError(t, l.Close())
	}
}

// Rows that an earlier version has kept of VMs without commands go when the ledger is opened; the numbers that they remember
// are not used again.
func TestRowsOfBefore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	l, err := Open(dir, Options{})
	require.NoError(t, err)
	add := func(vm, id string) uint64 {
		cmd, err := command.New(command.Drain{}, command.Options{ID: id})
		require.NoError(t, err)
		a, err := l.Append(t.Context(), vm, cmd, ledger.Limits{}, cmd.CreatedAt)
		require.NoError(t, err)
		return a.Entry.Seq
	}
	add("vm-1", "a")
	require.NoError(t, l.db.Update(func(tx *bolt.Tx) error {
		for vm, seq := range map[string]uint64{"gone-1": 7, "gone-2": 70, "gone-3": 0, "vm-1": 9} {
			if err := noteSeq(tx, vm, seq); err != nil {
				return err
			}
		}
		return nil
	}))
	require.NoError(t, l.Close())
	for range 2 {
		l, err = Open(dir, Options{})
		require.NoError(t, err)
		vms, err := l.VMs(t.Context(), ledger.VMQuery{})
		require.NoError(t, err)
		require.Equal(t, []ledger.VM{{Name: "vm-1", Pending: 1}}, vms)
		require.NoError(t, l.Close())
	}
	l, err = Open(dir, Options{})
	require.NoError(t, err)
	defer l.Close()
	require.EqualValues(t, 71, add("gone-1", "b"))
	require.EqualValues(t, 10, add("vm-1", "c"), "a row is kept that something waits for")
}
