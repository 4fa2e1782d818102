package logfile_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/logfile"
)

const header = "test 1\n"

func record(content string) []byte {
	b, err := logfile.Append(nil, func(b []byte) ([]byte, error) { return append(b, content...), nil })
	if err != nil {
		panic(err)
	}
	return b
}

func contents(b []byte) (all []string, err error) {
	err = logfile.Read(b, header, func(content []byte) error {
		all = append(all, string(content))
		return nil
	})
	return all, err
}

func inFile(t *testing.T, path string) []string {
	t.Helper()
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	all, err := contents(b)
	require.NoError(t, err)
	return all
}

// What was written is there, also before Close, with room in the file and across its growth.
func TestWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := logfile.Create(path, header, record("first"), 0)
	require.NoError(t, err)
	want := []string{"first"}
	for i := range 50 {
		content := fmt.Sprint(i, string(bytes.Repeat([]byte("x"), 20_000)))
		require.NoError(t, f.Write(record(content)))
		want = append(want, content)
		if i%10 == 0 {
			require.Equal(t, want, inFile(t, path))
		}
	}
	size := f.Size()
	require.NoError(t, f.Close())
	require.Equal(t, want, inFile(t, path))
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, size, info.Size())
	require.Error(t, f.Write(record("late")))
}

// A write of which only a part found room is not there, and the next one is.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := logfile.Create(path, header, nil, 0)
	require.NoError(t, err)
	require.NoError(t, f.Write(record("one")))
	limitFile(t, f.Size()+300_000)
	many := bytes.Repeat(record("not written"), 100_000)
	require.Error(t, f.Write(many))
	require.NoError(t, f.Write(record("two")))
	require.Equal(t, []string{"one", "two"}, inFile(t, path))
	require.NoError(t, f.Close())
}

func TestRead(t *testing.T) {
	all, err := contents(nil)
	require.NoError(t, err)
	require.Empty(t, all)
	_, err = contents([]byte("other 1\n"))
	require.ErrorIs(t, err, logfile.ErrKind)
	whole := append([]byte(header), record("one")...)
	one := len(whole)
	whole = append(whole, record("two")...)
	for at := len(header); at < one; at++ {
		damaged := bytes.Clone(whole)
		damaged[at] ^= 1
		_, err := contents(damaged)
		require.ErrorIs(t, err, logfile.ErrDamaged, "byte %d", at)
	}
	for cut := one; cut < len(whole); cut++ {
		for _, zeros := range []int{0, 1, 100} {
			all, err := contents(append(whole[:cut:cut], make([]byte, zeros)...))
			require.NoError(t, err)
			require.Equal(t, []string{"one"}, all, "cut at %d, and %d zeros", cut, zeros)
		}
	}
	stop := fmt.Errorf("stop")
	require.ErrorIs(t, logfile.Read(whole, header, func([]byte) error { return stop }), stop)
}
