//go:build unix

package bolt_test

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ledger/bolt"
)

// A ledger is not opened where others may write.
func TestOthersMayWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	l, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	refused := func(path string, mode, back os.FileMode) {
		t.Helper()
		require.NoError(t, os.Chmod(path, mode))
		_, err := bolt.Open(dir, bolt.Options{})
		require.ErrorContains(t, err, "chmod go-w "+path)
		require.NoError(t, os.Chmod(path, back))
	}
	refused(dir, 0o777, 0o700)
	refused(dir, 0o707, 0o700)
	refused(filepath.Dir(dir), 0o777, 0o755)
	files, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, f := range files {
		refused(filepath.Join(dir, f.Name()), 0o666, 0o600)
	}
	l, err = bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// A named pipe in the place of a file of the ledger would be waited for, and nothing could stop that.
func TestPipeForAFile(t *testing.T) {
	t.Parallel()
	for _, name := range []string{bolt.FileName, bolt.LogName} {
		dir := t.TempDir()
		require.NoError(t, os.Chmod(dir, 0o700))
		pipe := filepath.Join(dir, name)
		require.NoError(t, syscall.Mkfifo(pipe, 0o600))
		_, err := bolt.Open(dir, bolt.Options{})
		require.ErrorContains(t, err, pipe+" is a named pipe, not a file: remove it")
	}
}
