//go:build unix

package journal_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/agent/internal/journal"
)

// A journal is not opened where others may write.
func TestOthersMayWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	j, _, _, err := journal.Open(dir, 1<<20, 10)
	require.NoError(t, err)
	require.NoError(t, j.Close())
	refused := func(path string, mode, back os.FileMode) {
		t.Helper()
		require.NoError(t, os.Chmod(path, mode))
		_, _, _, err := journal.Open(dir, 1<<20, 10)
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
	j, _, _, err = journal.Open(dir, 1<<20, 10)
	require.NoError(t, err)
	require.NoError(t, j.Close())
}
