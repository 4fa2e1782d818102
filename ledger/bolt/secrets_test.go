package bolt_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

const token = "t0ken-of-a-runner"

func appendRunner(t *testing.T, l ledger.Ledger) string {
	t.Helper()
	c, err := command.New(command.RegisterRunner{RegistrationToken: token, RunnerURL: "https://ci.example.com"}, command.Options{})
	require.NoError(t, err)
	_, err = l.Append(t.Context(), "vm-1", c, ledger.Limits{}, time.Now())
	require.NoError(t, err)
	return c.ID
}

// holds says whether a secret is in any of a ledger's files.
func holds(t *testing.T, dir string) bool {
	t.Helper()
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	found := false
	for _, f := range files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name()))
		require.NoError(t, err)
		found = found || bytes.Contains(b, []byte(token))
	}
	return found
}

// Secrets are on disk as long as a command may need them, and in the log for an hour more at most.
func TestSecretsGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, dir)
		id := appendRunner(t, l)
		time.Sleep(2 * bolt.SecretsStay)
		require.True(t, holds(t, dir))
		settle(t, l, id, ack.Succeeded)
		time.Sleep(bolt.SecretsStay - time.Second)
		synctest.Wait()
		require.True(t, holds(t, dir))
		waits := appendRunner(t, l)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		require.True(t, holds(t, dir), "of the one that waits")
		settle(t, l, waits, ack.Failed)
		time.Sleep(bolt.SecretsStay + time.Second)
		synctest.Wait()
		require.False(t, holds(t, dir))
		path := filepath.Join(dir, bolt.LogName)
		written, err := os.Stat(path)
		require.NoError(t, err)
		time.Sleep(10 * bolt.SecretsStay)
		synctest.Wait()
		still, err := os.Stat(path)
		require.NoError(t, err)
		require.True(t, os.SameFile(written, still), "there was no reason to write it again")

		settle(t, l, appendRunner(t, l), ack.Failed)
		require.True(t, holds(t, dir))
		require.NoError(t, l.Close())
		require.False(t, holds(t, dir))
	})
}

// A log that could not be written anew is, as soon as it can be.
func TestSecretsGoLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		l := open(t, dir)
		settle(t, l, appendRunner(t, l), ack.Succeeded)
		inTheWay := filepath.Join(dir, bolt.LogName+".new")
		require.NoError(t, os.Mkdir(inTheWay, 0o700))
		time.Sleep(bolt.SecretsStay + 10*time.Minute)
		synctest.Wait()
		require.NoError(t, os.Remove(inTheWay))
		require.True(t, holds(t, dir))
		settle(t, l, appendRunner(t, l), ack.Succeeded)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		require.False(t, holds(t, dir))
		require.NoError(t, l.Close())
	})
}

// A crash leaves them in the log until the next start, also those of a version that kept them.
func TestSecretsAfterACrash(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	l.Redact(func(_ command.Type, p command.Parameters) command.Parameters { return p })
	old := appendRunner(t, l)
	settle(t, l, old, ack.Succeeded)
	l.Redact(nil)
	settle(t, l, appendRunner(t, l), ack.Succeeded)
	path := filepath.Join(dir, bolt.LogName)
	crashed, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.NoError(t, os.WriteFile(path, crashed, 0o600))
	require.True(t, holds(t, dir))

	l = open(t, dir)
	require.False(t, holds(t, dir))
	e, err := l.Get(t.Context(), old)
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)
}

// None come into the archive.
func TestSecretsAreNotArchived(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	var ids []string
	for range 1100 { // more than are archived together
		ids = append(ids, appendRunner(t, l))
	}
	var edits []ledger.Edit
	for _, id := range ids {
		edits = append(edits, ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
			e.Conclude(ack.Dead, "", "", time.Now())
			return nil
		}})
	}
	_, err := l.Update(t.Context(), "vm-1", edits...)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.False(t, holds(t, dir))
	l = open(t, dir)
	n, err := l.Prune(t.Context(), time.Now().Add(time.Hour), 10_000)
	require.NoError(t, err)
	require.Equal(t, len(ids), n)
}
