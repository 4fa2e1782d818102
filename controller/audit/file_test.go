package audit_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/controller/audit"
)

func open(t *testing.T, path string) *audit.File {
	t.Helper()
	f, err := audit.Open(path)
	require.NoError(t, err)
	t.Cleanup(func() { f.Close() })
	return f
}

func record(id string) admin.Record {
	return admin.Record{
		Time: time.Unix(1, 0).UTC(), Operator: "ada", Action: admin.ActionSend, VM: "vm-1", CommandID: id, Decision: admin.Allowed,
		Type: command.TypeDrain, Parameters: command.Parameters(`{"reason":"<\n>"}`),
	}
}

// ids are the commands of a file's lines.
func ids(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	var out []string
	for line := range bytes.Lines(b) {
		var r admin.Record
		require.NoError(t, json.Unmarshal(line, &r), "%q", line)
		out = append(out, r.CommandID)
	}
	return out
}

func TestLines(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	f := open(t, path)
	require.NoError(t, f.Record(t.Context(), record("c-1\n")))
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	require.ErrorIs(t, f.Record(t.Context(), record("c-2")), audit.ErrClosed)
	require.ErrorIs(t, f.Reopen(), audit.ErrClosed)
	f = open(t, path)
	require.NoError(t, f.Record(t.Context(), record("c-3")))
	require.Equal(t, []string{"c-1\n", "c-3"}, ids(t, path), "appended")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(string(b), `{"time":"1970-01-01T00:00:01Z","operator":"ada","action":"send","vm_id":"vm-1","type":"drain","command_id":"c-1\n","parameters":{"reason":"<\n>"},"decision":"allowed"}`+"\n"), "%s", b)
}

// A file that was moved or deleted is left behind, by itself or when told to.
func TestRotate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path, old := filepath.Join(dir, "audit.log"), filepath.Join(dir, "audit.log.1")
	f := open(t, path)
	require.NoError(t, f.Record(t.Context(), record("c-1")))
	require.NoError(t, os.Rename(path, old))
	require.NoError(t, f.Record(t.Context(), record("c-2")))
	require.Equal(t, []string{"c-1"}, ids(t, old))
	require.Equal(t, []string{"c-2"}, ids(t, path))

	require.NoError(t, os.Rename(path, old))
	require.NoError(t, os.WriteFile(path, nil, 0o600)) // logrotate's "create"
	require.NoError(t, f.Record(t.Context(), record("c-3")))
	require.Equal(t, []string{"c-3"}, ids(t, path))

	require.NoError(t, os.Remove(path))
	require.NoError(t, f.Reopen())
	require.Empty(t, ids(t, path))
}

// What cannot be kept is an error, and what can again is kept.
func TestCannotBeKept(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "d")
	path := filepath.Join(dir, "audit.log")
	_, err := audit.Open(path)
	require.ErrorContains(t, err, path)
	require.NoError(t, os.Mkdir(dir, 0o700))
	_, err = audit.Open(dir)
	require.Error(t, err)
	f := open(t, path)
	require.NoError(t, os.RemoveAll(dir))
	for range 2 {
		require.ErrorContains(t, f.Record(t.Context(), record("c-1")), path)
	}
	require.NoError(t, os.Mkdir(dir, 0o700))
	require.NoError(t, f.Record(t.Context(), record("c-2")))
	require.Equal(t, []string{"c-2"}, ids(t, path))
}

// Half a line, as a crash leaves it, does not spoil the next.
func TestTornLine(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	require.NoError(t, os.WriteFile(path, []byte(`{"time":`), 0o600))
	require.NoError(t, open(t, path).Record(t.Context(), record("c-1")))
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(string(b), "\n")
	require.Len(t, lines, 3)
	require.Equal(t, `{"time":`, lines[0])
	require.True(t, json.Valid([]byte(lines[1])))
}

// Many record at once, while the file is moved away again and again: no line is lost, cut or there twice.
func TestConcurrent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	f := open(t, path)
	var writers sync.WaitGroup
	for w := range 8 {
		writers.Go(func() {
			for i := range 25 {
				if err := f.Record(t.Context(), record(fmt.Sprint(w, "-", i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for i := range 10 {
		if err := os.Rename(path, fmt.Sprint(path, ".", i)); err != nil {
			require.ErrorIs(t, err, os.ErrNotExist)
		}
		require.NoError(t, f.Reopen())
	}
	writers.Wait()
	files, err := filepath.Glob(path + "*")
	require.NoError(t, err)
	seen := map[string]int{}
	for _, file := range files {
		for _, id := range ids(t, file) {
			seen[id]++
		}
	}
	require.Len(t, seen, 200)
	for id, n := range seen {
		require.Equal(t, 1, n, id)
	}
}
