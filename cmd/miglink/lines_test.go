package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

// Whoever goes on with a file sends the same IDs, created at the same time: that of the run, or what a line says.
func TestLinesAreCreatedOnce(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte(`{"vm_id":"vm-1","type":"drain"}
{"vm_id":"vm-1","type":"drain"}
{"vm_id":"vm-1","type":"drain","id":"own","created_at":"2026-01-02T03:04:05.678Z"}
`), 0o600))
	run, err := newRun("")
	require.NoError(t, err)
	type made struct {
		id string
		at time.Time
	}
	var first []made
	for range 2 {
		r, err := newRun(run.String())
		require.NoError(t, err)
		list, err := readLines(file, r, false)
		require.NoError(t, err)
		var all []made
		for _, l := range list {
			cmd, err := l.Command()
			require.NoError(t, err)
			require.Zero(t, cmd.CreatedAt.Nanosecond()%int(time.Millisecond))
			all = append(all, made{cmd.ID, cmd.CreatedAt})
		}
		if first == nil {
			first = all
		}
		require.Equal(t, first, all)
		time.Sleep(2 * time.Millisecond)
	}
	require.NotEqual(t, first[0].id, first[1].id)
	require.Equal(t, time.Date(2026, 1, 2, 3, 4, 5, 678_000_000, time.UTC), first[2].at)
}

// Files come from many hands, Windows among them.
func TestReadLines(t *testing.T) {
	t.Parallel()
	read := func(text string) ([]line, error) {
		name := filepath.Join(t.TempDir(), "commands")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		r, err := newRun("")
		require.NoError(t, err)
		return readLines(name, r, false)
	}
	const one = `{"vm_id":"vm-1","type":"drain"}`
	for _, text := range []string{one, one + "\n", "\n\n" + one, byteOrderMark + one + "\r\n\r\n", byteOrderMark + "\n" + one} {
		list, err := read(text)
		require.NoError(t, err, "%q", text)
		require.Len(t, list, 1)
		require.Equal(t, "vm-1", list[0].VM)
	}
	const keyed = `{"vm_id":"vm-1","type":"drain","idempotency_key":"k"}`
	list, err := read(keyed + "\n" + strings.Replace(keyed, "vm-1", "vm-2", 1))
	require.NoError(t, err, "a key is of one VM")
	require.Len(t, list, 2)
	for text, want := range map[string]string{
		one + "\n" + byteOrderMark + one:                                                           "line 2: not JSON at byte 0",
		keyed + "\n" + one + "\n" + strings.Replace(keyed, "drain", "shutdown", 1):                 "line 3: it has the VM and the idempotency key of line 1",
		one + "\n" + `{"vm_id":"vm-1","type":"x","parameters":{"a":"` + strings.Repeat("a", 1<<20): "line 2 is longer than 524288 bytes; parameters have at most 262144",
	} {
		_, err := read(text)
		require.ErrorContains(t, err, want)
	}
}

func TestReadParams(t *testing.T) {
	t.Parallel()
	name := filepath.Join(t.TempDir(), "parameters")
	require.NoError(t, os.WriteFile(name, []byte(byteOrderMark+"{}\r\n"), 0o600))
	got, err := readParams("@" + name)
	require.NoError(t, err)
	_, err = command.NewRaw("x", got, command.Options{})
	require.NoError(t, err)
}
