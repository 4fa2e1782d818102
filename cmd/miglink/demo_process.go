package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// demo is the processes of a demonstration, and what it has seen of them.
type demo struct {
	rounds   int
	dir      string
	rng      *rand.Rand
	admin    *admin.Client
	broker   *server.Server // nil: not needed
	agents   []*demoAgent
	children []*exec.Cmd
}

// demoAgent is one agent, behind a proxy that can cut its link.
type demoAgent struct {
	transport, vm, record string
	proxy                 *fault.Proxy
	cutAfter              int // command of the round

	mu        sync.Mutex
	ids       []string
	succeeded int
	times     []time.Duration
	cuts      int
	before    int // connections when it was cut
}

const (
	readyTime = 20 * time.Second
	childStop = 5 * time.Second

	demoPrefix = "miglink-demo" // a broker outside may have others' agents
)

// start starts a controller and an agent for each transport; outside is the URLs of brokers.
func (d *demo) start(ctx context.Context, transports []string, outside map[string]string) error {
	args := []string{"controller", "--listen", "127.0.0.1:0", "--data", filepath.Join(d.dir, "ledger"), "--drain", "200ms", "--prefix", demoPrefix}
	if slices.Contains(transports, "nats") {
		if err := d.startBroker(); err != nil {
			return err
		}
		outside["nats"] = d.broker.ClientURL()
	}
	for name, url := range outside {
		if url != "" {
			args = append(args, "--"+brokerFlags[name], url)
		}
	}
	ready, err := d.spawn("controller", nil, args...)
	if err != nil {
		return err
	}
	base, err := controllerURL(ctx, ready)
	if err != nil {
		return err
	}
	if d.admin, err = admin.NewClient(base.String()+"/admin/v1", transport.Config{}); err != nil {
		return err
	}
	for _, name := range transports {
		way := base.String()
		if url := outside[name]; url != "" {
			way = url
		}
		proxy, through, env, err := d.proxy(way)
		if err != nil {
			return err
		}
		a := &demoAgent{
			transport: name, vm: "vm-" + name, proxy: proxy,
			record:   filepath.Join(d.dir, name+".record"),
			cutAfter: d.rng.IntN(len(demoCommands)),
		}
		d.agents = append(d.agents, a)
		ready, err := d.spawn("agent-"+name, env, "agent", "--controller", through, "--broker", through, "--prefix", demoPrefix, "--vm", a.vm,
			"--transport", name, "--journal", filepath.Join(d.dir, name+".journal"), "--record", a.record)
		if err != nil {
			return err
		}
		if _, err := firstLine(ctx, "agent", ready); err != nil {
			return err
		}
	}
	return nil
}

// emulator is the variable that names the address of Google Cloud Pub/Sub's emulator.
const emulator = "PUBSUB_EMULATOR_HOST"

// proxy puts a proxy in front of what a URL names, and returns the URL of that, and the environment that it
// takes.
func (d *demo) proxy(to string) (p *fault.Proxy, through string, env []string, err error) {
	u, err := url.Parse(to)
	if err != nil {
		return nil, "", nil, errors.New("a broker's URL is none") // it may hold a password
	}
	if u.Scheme == "gcppubsub" {
		p, err = fault.NewProxy(os.Getenv(emulator), d.rng.Uint64())
		if err != nil {
			return nil, "", nil, err
		}
		return p, to, []string{emulator + "=" + p.Addr()}, nil
	}
	if u.Port() == "" {
		u.Host = net.JoinHostPort(u.Hostname(), map[string]string{"redis": "6379", "amqp": "5672"}[u.Scheme])
	}
	p, err = fault.NewProxy(u.Host, d.rng.Uint64())
	if err != nil {
		return nil, "", nil, err
	}
	u.Host = p.Addr()
	return p, u.String(), nil, nil
}

// startBroker starts a NATS server in this process: a broker needs no more than that to be seen at work.
func (d *demo) startBroker() error {
	var err error
	d.broker, err = server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return err
	}
	d.broker.Start()
	if !d.broker.ReadyForConnections(readyTime) {
		return errors.New("the broker did not start")
	}
	return nil
}

// controllerURL reads the line that a controller prints when it listens.
func controllerURL(ctx context.Context, ready <-chan string) (*url.URL, error) {
	line, err := firstLine(ctx, "controller", ready)
	if err != nil {
		return nil, err
	}
	for _, word := range strings.Fields(line) {
		if strings.HasPrefix(word, "http") {
			return url.Parse(strings.TrimSuffix(word, ","))
		}
	}
	return nil, fmt.Errorf("the controller printed no URL: %s", line)
}

// firstLine waits for what a process prints when it is ready.
func firstLine(ctx context.Context, name string, ready <-chan string) (string, error) {
	select {
	case s := <-ready:
		if s == "" {
			return "", fmt.Errorf("the %s did not start", name)
		}
		return s, nil
	case <-time.After(readyTime):
		return "", fmt.Errorf("the %s did not start within %s", name, readyTime)
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// spawn starts this program again with other arguments and more environment, and returns the first line
// that it prints.
func (d *demo) spawn(name string, env []string, args ...string) (<-chan string, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(d.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd := exec.Command(self, args...) //nolint:noctx // ended by stop, gently
	cmd.Stderr = log
	cmd.Env = slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, "MIGLINK_") })
	cmd.Env = append(cmd.Env, env...)
	dieWithParent(cmd)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	d.children = append(d.children, cmd)
	first := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(out).ReadString('\n')
		first <- line
	}()
	return first, nil
}

// stop ends the children, agents first, the proxies and the broker.
func (d *demo) stop() {
	for _, child := range slices.Backward(d.children) {
		_ = child.Process.Signal(syscall.SIGTERM) // it may be gone
	}
	for _, child := range slices.Backward(d.children) {
		late := time.AfterFunc(childStop, func() { _ = child.Process.Kill() })
		_ = child.Wait() // how it ended says nothing
		late.Stop()
	}
	for _, a := range d.agents {
		a.proxy.Close()
	}
	if d.broker != nil {
		d.broker.Shutdown()
		d.broker.WaitForShutdown()
	}
}

func (a *demoAgent) sent(id string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, id)
}

func (a *demoAgent) settled(s admin.Status, d time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if s.Stage == ack.Succeeded {
		a.succeeded++
	}
	a.times = append(a.times, d)
}

func (a *demoAgent) cut() {
	a.mu.Lock()
	a.cuts++
	a.before = a.proxy.Accepted()
	a.mu.Unlock()
	a.proxy.Reset()
}

// demoResult is one row of the table.
type demoResult struct {
	commands, succeeded, cuts, resumed, lost, twice int
	p50, p99                                        time.Duration
}

// result sums up; runs is how often each command ran, by the agent process's own record.
func (a *demoAgent) result(runs map[string]int) demoResult {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := demoResult{commands: len(a.ids), succeeded: a.succeeded, cuts: a.cuts}
	if a.cuts > 0 && a.proxy.Accepted() > a.before {
		r.resumed = a.cuts
	}
	for _, id := range a.ids {
		switch n := runs[id]; {
		case n == 0:
			r.lost++
		case n > 1:
			r.twice++
		}
	}
	r.lost = max(r.lost, len(a.times)-a.succeeded)
	if len(a.times) > 0 {
		sorted := slices.Sorted(slices.Values(a.times))
		r.p50 = sorted[len(sorted)/2].Round(10 * time.Microsecond)
		r.p99 = sorted[len(sorted)*99/100].Round(10 * time.Microsecond)
	}
	return r
}

func lines(b []byte) iter.Seq[string] {
	return func(yield func(string) bool) {
		for line := range bytes.Lines(b) {
			if !yield(strings.TrimSpace(string(line))) {
				return
			}
		}
	}
}

func lastLines(b []byte, n int) string {
	all := slices.Collect(lines(b))
	return strings.Join(all[max(0, len(all)-n):], "\n")
}
