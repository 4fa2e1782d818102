package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestBench(t *testing.T) {
	t.Parallel()
	page := filepath.Join(t.TempDir(), "bench.html")
	out := ok(t, "bench", "--transports", "ws,longpoll", "--ledgers", "memory", "--rounds", "1", "--turn", "1ms", "--fleet", "5", "--vms", "2",
		"--audience", "20", "--known", "2,4", "--past", "50", "--goals", "--html", page)
	for _, want := range []string{"Send to final ack", "2 VMs, 64 under way to each", "an idle VM, of 5", "5 VMs dial at once", "round trip, p50 / bare"} {
		require.Contains(t, out, want)
	}
	html, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Contains(t, string(html), "<svg")
	require.Contains(t, ok(t, "bench", "--transports", "ws", "--measures", "idle", "--fleet", "5", "--output", "json"), `"goroutines"`)
	require.Contains(t, ok(t, "bench", "--transports", "ws", "--measures", "idle", "--fleet", "5", "--output", "benchstat"), "BenchmarkIdle/ws/memory-")
}

// A controller that runs elsewhere is measured by its URL.
func TestBenchElsewhere(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	out := ok(t, "bench", "--controller", url, "--transports", "ws,grpc", "--rounds", "1", "--turn", "1ms", "--fleet", "5", "--vms", "2")
	require.Contains(t, out, "Of the controller at "+url)
	require.Regexp(t, `grpc +│ remote +│`, out)
}
