package bench_test

import (
	"bytes"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
)

// idleVMs is how many there are: enough for what one costs to stand out.
const idleVMs = 1000

// BenchmarkIdleVM is what a connected VM that has had one command costs the controller's process while
// nothing happens: resident memory and goroutines, the ledger's entry included.
func BenchmarkIdleVM(b *testing.B) {
	for _, name := range names {
		if name == "rabbitmq" {
			continue // as many connections at once take such a broker minutes
		}
		b.Run(name, func(b *testing.B) {
			idle(b, name)
			b.ReportMetric(0, "ns/op") // it is no matter of time
		})
	}
}

func idle(b *testing.B, name string) {
	b.Helper()
	c := controller.New(memory.New(), controller.Options{})
	url := serve(b, name, c)
	memoryBefore, goroutinesBefore := resident(b), runtime.NumGoroutine()
	startAgents(b, name, url, idleVMs)
	for i := range idleVMs {
		cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
		require.NoError(b, err)
		r, err := c.Send(b.Context(), "vm-"+strconv.Itoa(i), cmd)
		require.NoError(b, err)
		_, err = r.Wait(b.Context())
		require.NoError(b, err)
	}
	b.ReportMetric(float64(resident(b)-memoryBefore)/idleVMs/1024, "KiB/vm")
	b.ReportMetric(float64(runtime.NumGoroutine()-goroutinesBefore)/idleVMs, "goroutines/vm")
}

// resident is the process's memory, in bytes, without what the garbage collector could give back.
func resident(b *testing.B) int {
	b.Helper()
	debug.FreeOSMemory()
	statm, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		b.Skip("there is no /proc/self/statm")
	}
	pages, err := strconv.Atoi(string(bytes.Fields(statm)[1]))
	require.NoError(b, err)
	return pages * os.Getpagesize()
}
