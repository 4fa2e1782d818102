package bench_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/bench"
)

// smallAgent is all that an agent needs to say.
const smallAgent = `package main

import (
	"context"
	"log"
	"os"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/%[1]s"
)

func main() {
	t, err := %[1]s.Open(transport.Config{URL: os.Args[1], Broker: os.Args[1]})
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(t, agent.Options{VM: os.Args[2], Journal: os.Args[3]})
	if err != nil {
		log.Fatal(err)
	}
	agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) { return nil, nil }, agent.Policy{})
	log.Fatal(a.Run(context.Background()))
}
`

// BenchmarkProgram is the size of a small agent's program with one transport, without symbols.
func BenchmarkProgram(b *testing.B) {
	for _, name := range append(bench.Transports(), "gcppubsub") {
		b.Run(name, func(b *testing.B) {
			source, program := filepath.Join(b.TempDir(), "main.go"), filepath.Join(b.TempDir(), "agent")
			require.NoError(b, os.WriteFile(source, fmt.Appendf(nil, smallAgent, name), 0o600))
			out, err := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, source).CombinedOutput()
			require.NoError(b, err, string(out))
			info, err := os.Stat(program)
			require.NoError(b, err)
			b.ReportMetric(float64(info.Size())/(1<<20), "MiB")
			b.ReportMetric(0, "ns/op") // it is no matter of time
		})
	}
}
