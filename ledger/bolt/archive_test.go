package bolt

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// BenchmarkArchive is what it costs to move one settled command into the archive, with many at a time.
func BenchmarkArchive(b *testing.B) {
	for _, vms := range []int{100, 10_000} {
		b.Run(fmt.Sprint("vms=", vms), func(b *testing.B) {
			dir := b.TempDir()
			l, err := Open(dir, Options{})
			require.NoError(b, err)
			defer l.Close()
			b.ReportAllocs()
			var entries []*ledger.Entry
			for i := range b.N {
				entries = append(entries, settledEntry(b, fmt.Sprintf("vm-%05d", i*7919%vms), uint64(1+i/vms)))
				if len(entries) == archiveMany || i == b.N-1 {
					require.NoError(b, l.archive(entries))
					entries = nil
				}
			}
			info, err := os.Stat(filepath.Join(dir, FileName))
			require.NoError(b, err)
			b.ReportMetric(float64(info.Size())/float64(b.N), "bytes/op")
		})
	}
}

func settledEntry(b *testing.B, vm string, seq uint64) *ledger.Entry {
	now := time.Now()
	cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
	require.NoError(b, err)
	e := ledger.NewEntry(vm, seq, cmd, now)
	e.Delivered(1, now)
	require.NoError(b, e.Acked(ack.Ack{Stage: ack.Succeeded, Attempt: 1}, ledger.Speaker{}, now))
	return &e
}
