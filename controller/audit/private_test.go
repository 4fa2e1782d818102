//go:build unix

package audit_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller/audit"
)

// A file that others may write, or replace, is no audit: neither when it is opened nor when it was moved away.
func TestOthersMayWrite(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "audit.log")
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, os.Chmod(dir, 0o777))
	_, err := audit.Open(path)
	require.ErrorContains(t, err, "chmod go-w "+dir)
	_, err = os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist, "nothing was made there")

	require.NoError(t, os.Chmod(dir, 0o700))
	f := open(t, path)
	require.NoError(t, f.Record(t.Context(), record("c-1")))
	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, os.WriteFile(path, nil, 0o600))
	require.NoError(t, os.Chmod(path, 0o666))
	for range 2 {
		require.ErrorContains(t, f.Record(t.Context(), record("c-2")), "chmod go-w "+path)
		require.ErrorContains(t, f.Reopen(), "0666")
	}
	_, err = audit.Open(path)
	require.ErrorContains(t, err, "chmod go-w "+path)
	require.NoError(t, os.Chmod(path, 0o600))
	require.NoError(t, f.Record(t.Context(), record("c-3")))
	require.Equal(t, []string{"c-3"}, ids(t, path))

	// Through a link of our own to a place of somebody else's.
	elsewhere := filepath.Join(t.TempDir(), "elsewhere")
	require.NoError(t, os.Mkdir(elsewhere, 0o700))
	require.NoError(t, os.Chmod(elsewhere, 0o777))
	link := filepath.Join(dir, "link.log")
	require.NoError(t, os.Symlink(filepath.Join(elsewhere, "new.log"), link))
	_, err = audit.Open(link)
	require.ErrorContains(t, err, "chmod go-w "+elsewhere)
}

// A device is refused for what it is, and not for its mode, and a name that leads to a file is one: /dev/stderr is, where
// that goes to a file.
func TestDevice(t *testing.T) {
	t.Parallel()
	_, err := audit.Open(os.DevNull)
	require.EqualError(t, err, "audit: "+os.DevNull+" is a device, not a file")
	if runtime.GOOS != "linux" {
		return // descriptors have no names that lead to their files
	}
	path := filepath.Join(t.TempDir(), "errors.log")
	require.NoError(t, open(t, path).Record(t.Context(), record("c-1")))
	stderr, err := os.Open(path)
	require.NoError(t, err)
	defer stderr.Close()
	f := open(t, fmt.Sprintf("/dev/fd/%d", stderr.Fd()))
	require.NoError(t, f.Record(t.Context(), record("c-2")))
	require.Equal(t, []string{"c-1", "c-2"}, ids(t, path))
}
