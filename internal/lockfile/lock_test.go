package lockfile_test

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/lockfile"
)

func TestLock(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "lock")
	first, err := lockfile.Lock(path)
	require.NoError(t, err)
	_, err = lockfile.Lock(path)
	require.ErrorIs(t, err, lockfile.ErrInUse)
	require.NoError(t, first.Close())
	second, err := lockfile.Lock(path)
	require.NoError(t, err)
	require.NoError(t, second.Close())
	_, err = lockfile.Lock(filepath.Join(path, "below a file"))
	require.Error(t, err)
	require.NotErrorIs(t, err, lockfile.ErrInUse)
}
