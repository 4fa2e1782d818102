package bench_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/ws"
)

var registry = transport.Registry{
	{Name: "ws", Open: ws.Open},
	{Name: "sse", Open: sse.Open},
	{Name: "longpoll", Open: longpoll.Open},
	{Name: "grpc", Open: grpc.Open},
	{Name: "nats", Open: nats.Open},
	{Name: "redis", Open: redis.Open},
	{Name: "rabbitmq", Open: rabbitmq.Open},
}

// bareAgents are the other ends of the bare loops.
var bareAgents = map[string]func(url string) error{
	"bare-ws":       bareWebSocketAgent,
	"bare-sse":      bareSSEAgent,
	"bare-longpoll": bareLongPollAgent,
	"bare-grpc":     bareGRPCAgent,
	"bare-nats":     bareNATSAgent,
	"bare-redis":    bareRedisAgent,
	"bare-rabbitmq": bareRabbitMQAgent,
}

// The agents run in a process of their own: this binary, with these variables.
const (
	envKind  = "MIGLINK_BENCH_AGENTS"
	envURL   = "MIGLINK_BENCH_URL"
	envCount = "MIGLINK_BENCH_COUNT"
)

func TestMain(m *testing.M) {
	if kind := os.Getenv(envKind); kind != "" {
		if err := runAgents(kind, os.Getenv(envURL), os.Getenv(envCount)); err != nil {
			fmt.Fprintln(os.Stderr, "bench agents:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// startAgents starts n agents, vm-0 and on, in another process, until the benchmark ends.
func startAgents(b *testing.B, kind, url string, n int) {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), envKind+"="+kind, envURL+"="+url, envCount+"="+strconv.Itoa(n))
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe() // its end is theirs
	require.NoError(b, err)
	require.NoError(b, cmd.Start())
	b.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
	})
}

func runAgents(kind, url, count string) error {
	ended := make(chan error, 1)
	if run := bareAgents[kind]; run != nil {
		go func() { ended <- run(url) }()
	} else {
		n, err := strconv.Atoi(count)
		if err != nil {
			return err
		}
		go func() { ended <- runReal(kind, url, n) }()
	}
	go func() {
		_, err := io.Copy(io.Discard, os.Stdin)
		ended <- err
	}()
	return <-ended
}

func runReal(name, url string, n int) error {
	var running sync.WaitGroup
	errs := make(chan error, n)
	for i := range n {
		t, err := registry.Open(name, transport.Config{URL: url, Broker: url, Prefix: prefix})
		if err != nil {
			return err
		}
		a, err := agent.New(t, agent.Options{VM: "vm-" + strconv.Itoa(i)})
		if err != nil {
			return err
		}
		agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) { return nil, nil }, agent.Policy{})
		running.Go(func() { errs <- a.Run(context.Background()) })
	}
	running.Wait()
	return <-errs
}
