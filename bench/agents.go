package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
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

// agents are the other ends, in a process of their own.
type agents struct {
	cmd    *exec.Cmd
	stdin  io.WriteCloser // its end is theirs
	slow   *fault.Proxy   // between; nil: nothing is
	closed atomic.Bool
	ended  chan struct{}
}

// readyTime is how long they may take to start, and endTime to end.
const (
	readyTime = 30 * time.Second
	endTime   = 2 * time.Second
)

// startAgents starts n of a kind, which dial what is at once they are released. If they end by themselves,
// the run does.
func (o *Options) startAgents(kind string, at place, n int) (_ *agents, err error) {
	a := &agents{ended: make(chan struct{})}
	defer func() {
		if err != nil && a.slow != nil {
			a.slow.Close()
		}
	}()
	if o.Delay > 0 || o.Jitter > 0 {
		if err := a.slowDown(&at, o.Delay, o.Jitter); err != nil {
			return nil, err
		}
	}
	args := append(append([]string(nil), o.Program[1:]...), kind, at.url, at.prefix, strconv.Itoa(n))
	cmd := exec.Command(o.Program[0], args...) //nolint:noctx // ended by close
	var says bytes.Buffer
	cmd.Stderr = &says
	cmd.Env = os.Environ()
	if o.Profile != "" {
		cmd.Env = append(cmd.Env, profileEnv+"="+filepath.Join(o.Profile, kind+".pprof"))
	}
	if o.OneCPU {
		cmd.Env = append(cmd.Env, "GOMAXPROCS=1")
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a.cmd, a.stdin = cmd, stdin
	ready := make(chan error, 1)
	go func() {
		_, err := bufio.NewReader(stdout).ReadString('\n')
		ready <- err
		_ = cmd.Wait() // its state says how it ended
		if !a.closed.Load() {
			o.fail(fmt.Errorf("the agents have ended, %s: %s", cmd.ProcessState, strings.TrimSpace(says.String())))
		}
		close(a.ended)
	}()
	select {
	case err = <-ready:
	case <-time.After(readyTime):
		err = errors.New("they are not ready in time")
	}
	if err != nil {
		a.close()
		return nil, fmt.Errorf("start agents: %w", err)
	}
	return a, nil
}

// release has them dial.
func (a *agents) release() error {
	_, err := io.WriteString(a.stdin, "\n")
	return err
}

func (a *agents) close() {
	a.closed.Store(true)
	a.stdin.Close()
	select {
	case <-a.ended:
	case <-time.After(endTime):
		_ = a.cmd.Process.Kill() // it may have ended
		<-a.ended
	}
	if a.slow != nil {
		a.slow.Close()
	}
}

// slowDown puts a slow network in front of a place.
func (a *agents) slowDown(at *place, delay, jitter time.Duration) error {
	u, err := url.Parse(at.url)
	if err != nil {
		return errors.New("a broker's URL is none") // it may hold a password
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"redis": "6379", "amqp": "5672"}[u.Scheme])
	}
	if a.slow, err = fault.NewProxy(u.Host, 1); err != nil {
		return err
	}
	a.slow.Latency(delay, jitter)
	u.Host = a.slow.Addr()
	at.url = u.String()
	return nil
}

// RunAgents is the process of agents that Options.Program starts, with the four arguments that are added
// to it. It ends with its standard input.
func RunAgents(kind, url, prefix, count string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	run := bareAgents[kind]
	if run == nil {
		if run, err = realAgent(kind, prefix); err != nil {
			return err
		}
	}
	if file := os.Getenv(profileEnv); file != "" {
		stop, err := profile(file)
		if err != nil {
			return err
		}
		defer stop()
	}
	if _, err := fmt.Println("ready"); err != nil {
		return err
	}
	in := bufio.NewReader(os.Stdin)
	if _, err := in.ReadString('\n'); err != nil {
		return err
	}
	ended := make(chan error, n+1)
	for i := range n {
		go func() { ended <- run(url, i) }()
	}
	go func() {
		_, err := io.Copy(io.Discard, in)
		ended <- err
	}()
	return <-ended
}

// realAgent returns how to run agents of ours.
func realAgent(name, prefix string) (func(url string, i int) error, error) {
	if !slices.Contains(Transports(), name) {
		return nil, fmt.Errorf("there is no transport %q", name)
	}
	return func(url string, i int) error {
		t, err := registry.Open(name, transport.Config{URL: url, Broker: url, Prefix: prefix})
		if err != nil {
			return err
		}
		a, err := agent.New(t, agent.Options{VM: vmName(i)})
		if err != nil {
			return err
		}
		agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) { return nil, nil }, agent.Policy{})
		return a.Run(context.Background())
	}, nil
}

func vmName(i int) string { return "vm-" + strconv.Itoa(i) }
