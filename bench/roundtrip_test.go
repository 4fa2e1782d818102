package bench_test

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/ledger/memory"
)

// BenchmarkRoundTrip is the time from Send to the final ack, one command at a time, over loopback
// between two processes. The bare loops send the same JSON and wait for an ack, and promise nothing.
func BenchmarkRoundTrip(b *testing.B) {
	for _, name := range names {
		b.Run(name+"/bare", func(b *testing.B) { measure(b, bare[name](b)) })
		b.Run(name+"/memory", func(b *testing.B) { measure(b, roundTrip(b, name, memory.New())) })
		b.Run(name+"/bolt", func(b *testing.B) {
			l, err := bolt.Open(b.TempDir())
			require.NoError(b, err)
			defer l.Close()
			measure(b, roundTrip(b, name, l))
		})
	}
}

// measure reports the median and the 99th percentile of do.
func measure(b *testing.B, do func()) {
	for range 100 {
		do()
	}
	took := make([]time.Duration, 0, 1<<16)
	for b.Loop() {
		began := time.Now()
		do()
		took = append(took, time.Since(began))
	}
	slices.Sort(took)
	b.ReportMetric(float64(took[len(took)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds()), "p99-ns")
}

// roundTrip sends to an agent over a transport, with everything that is promised.
func roundTrip(b *testing.B, name string, l ledger.Ledger) func() {
	b.Helper()
	c := controller.New(l, controller.Options{})
	startAgents(b, name, serve(b, name, c), 1)
	return func() {
		cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
		require.NoError(b, err)
		r, err := c.Send(b.Context(), "vm-0", cmd)
		require.NoError(b, err)
		_, err = r.Wait(b.Context())
		require.NoError(b, err)
	}
}
