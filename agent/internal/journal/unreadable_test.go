package journal

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/setaside"
)

const unreadable = "no record, as an agent of another version may write it"

// withUnreadable makes a journal that holds a command and a record that cannot be read.
func withUnreadable(t *testing.T, dir string) {
	t.Helper()
	b, err := appendRecord([]byte(header), received("a"))
	require.NoError(t, err)
	b, err = logfile.Append(b, func(b []byte) ([]byte, error) { return append(b, unreadable...), nil })
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, fileName), b, 0o600))
}

// setAside are the records of the file beside a journal.
func setAside(t *testing.T, dir string) (records []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, asideName))
	require.NoError(t, err)
	for line := range strings.Lines(string(b)) {
		var r setaside.Record
		require.NoError(t, json.Unmarshal([]byte(line), &r), line)
		records = append(records, string(r.Bytes))
	}
	return records
}

// What cannot be read, and has no room beside the journal, stays in it, whatever would have it written anew: the next one
// that finds room sets it aside.
func TestUnreadableOnAFullDisk(t *testing.T) {
	for name, full := range map[string]func(t *testing.T, dir string) (empty func()){
		"nothing has room": fill,
		"the file beside it has none": func(t *testing.T, dir string) func() {
			return fill(t, filepath.Join(dir, asideName))
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir := t.TempDir()
				withUnreadable(t, dir)
				empty := full(t, dir)
				j, tasks, _, err := Open(dir, large, 100)
				require.NoError(t, err)
				require.Len(t, tasks, 1)
				n, _, path, aside := j.Unreadable()
				require.Equal(t, 1, n)
				require.False(t, aside)
				require.Contains(t, readFileAt(t, path), unreadable)
				require.NoFileExists(t, filepath.Join(dir, asideName))
				_ = j.Write(finished("a", ack.Succeeded)) // without a reserve it may have no room
				_ = j.Note(finished("a", ack.Succeeded))
				time.Sleep(stay + 10*retry)
				synctest.Wait()
				require.Contains(t, readFileAt(t, path), unreadable)
				_ = j.Close()
				require.Contains(t, readFileAt(t, path), unreadable)

				j, _, _, err = Open(dir, large, 100)
				require.NoError(t, err)
				require.NoError(t, j.Note(finished("a", ack.Succeeded)))
				empty()
				require.NoError(t, j.Write(received("b")))
				require.NoError(t, j.Close())
				require.Equal(t, []string{unreadable}, setAside(t, dir))
				n, _, path, aside = j.Unreadable()
				require.Equal(t, 1, n)
				require.True(t, aside)
				require.FileExists(t, path)
				require.NotContains(t, readFileAt(t, j.path()), unreadable)
			})
		})
	}
}

// On a disk that has room it is set aside at once.
func TestUnreadable(t *testing.T) {
	dir := t.TempDir()
	withUnreadable(t, dir)
	j, _, _, err := Open(dir, large, 100)
	require.NoError(t, err)
	_, _, path, aside := j.Unreadable()
	require.True(t, aside)
	require.Equal(t, filepath.Join(dir, asideName), path)
	require.Equal(t, []string{unreadable}, setAside(t, dir))
	require.NoError(t, j.Close())
}

func readFileAt(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(b)
}
