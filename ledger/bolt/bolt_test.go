package bolt_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/ledger/ledgertest"
)

func TestContract(t *testing.T) {
	ledgertest.Test(t, true, func(t *testing.T, dir string) ledger.Ledger {
		l, err := bolt.Open(dir, bolt.Options{})
		require.NoError(t, err)
		return l
	})
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	l, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	_, err = bolt.Open(dir, bolt.Options{})
	require.ErrorContains(t, err, "in use by another process")
	require.NoError(t, l.Close())

	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	_, err = bolt.Open(file, bolt.Options{})
	require.Error(t, err)

	dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, bolt.FileName), []byte("not a ledger, but long enough to look at"), 0o600))
	_, err = bolt.Open(dir, bolt.Options{})
	require.ErrorContains(t, err, dir)
}

const crashDir = "MIGLINK_TEST_CRASH_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashDir); dir != "" {
		appendForEver(dir)
	}
	os.Exit(m.Run())
}

// appendForEver prints the ID of each command after it was appended.
func appendForEver(dir string) {
	l, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		fmt.Println("error", err)
		os.Exit(1)
	}
	done := make(chan string)
	for i := range 8 {
		go func() {
			for {
				c, err := command.New(command.Drain{}, command.Options{})
				if err == nil {
					_, err = l.Append(context.Background(), fmt.Sprint("vm-", i), c, ledger.Limits{}, time.Now())
				}
				if err != nil {
					done <- "error " + err.Error()
					return
				}
				done <- c.ID
			}
		}()
	}
	for id := range done {
		fmt.Println(id)
	}
}

// TestKill kills a process in the middle of its appends, again and again: what it said was appended is
// there.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	var said []string
	for round := range 5 {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), crashDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		require.NoError(t, err)
		require.NoError(t, child.Start())
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			require.NotContains(t, lines.Text(), "error")
			said = append(said, lines.Text())
			if n == 100+17*round {
				require.NoError(t, child.Process.Kill())
			}
		}
		require.Error(t, child.Wait())
	}
	l, err := bolt.Open(dir, bolt.Options{})
	require.NoError(t, err)
	defer l.Close()
	for _, id := range said[:len(said)-1] { // the last line may be torn
		_, err := l.Get(t.Context(), id)
		require.NoError(t, err, "%s was acknowledged", id)
	}
	for i := range 8 {
		vm := fmt.Sprint("vm-", i)
		entries, err := l.List(t.Context(), vm, 0, 1<<20)
		require.NoError(t, err)
		for n, e := range entries {
			require.EqualValues(t, len(entries)-n, e.Seq, "no gaps")
		}
	}
	t.Logf("%d acknowledged appends survived 5 kills", len(said))
}

func BenchmarkAppend(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint("writers=", writers), func(b *testing.B) {
			l, err := bolt.Open(b.TempDir(), bolt.Options{})
			require.NoError(b, err)
			defer l.Close()
			b.SetParallelism(writers) // times GOMAXPROCS
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					c, err := command.New(command.Drain{}, command.Options{})
					if err == nil {
						_, err = l.Append(context.Background(), "vm-"+c.ID[30:32], c, ledger.Limits{}, time.Now())
					}
					if err != nil {
						b.Error(err)
						return
					}
				}
			})
		})
	}
}
