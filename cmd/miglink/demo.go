package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

type demoCmd struct {
	Rounds     int      `default:"30" help:"How often each of the five command types goes to each agent."`
	Transports []string `default:"ws,sse,longpoll,grpc,nats" help:"One agent for each of these."`
	Redis      string   `help:"And one over this Redis server." placeholder:"redis://HOST:6379"`
	AMQP       string   `help:"And one over this RabbitMQ broker." placeholder:"amqp://HOST:5672"`
	GCPPubSub  string   `name:"gcppubsub" help:"And one over Google Cloud Pub/Sub, of the emulator that PUBSUB_EMULATOR_HOST names." placeholder:"gcppubsub://PROJECT"`
	Seed       uint64   `help:"Of the moments of the cuts. Default: a new one, which is printed."`
	Keep       bool     `help:"Keep the temporary directory: ledger, journals, logs."`
}

// demoTime bounds the whole: it takes a few seconds.
const demoTime = 2 * time.Minute

func (c *demoCmd) Run(ctx context.Context) error {
	if c.Rounds < 1 || len(c.Transports) == 0 {
		return usage("--rounds is at least 1, and there is at least one transport")
	}
	for _, name := range c.Transports {
		if flag := brokerFlags[name]; flag != "" && name != "nats" {
			return usage("--transports: %s is wanted by --%s URL", name, flag)
		}
		if _, err := registry.Open(name, transport.Config{URL: "http://localhost", Broker: "nats://localhost"}); err != nil {
			return &exitError{exitUsage, err}
		}
	}
	if c.GCPPubSub != "" && os.Getenv(emulator) == "" {
		return usage("--gcppubsub wants an emulator, whose address is in %s: links to Google's own cannot be cut here", emulator)
	}
	outside := map[string]string{"redis": c.Redis, "rabbitmq": c.AMQP, "gcppubsub": c.GCPPubSub}
	for _, name := range slices.Sorted(maps.Keys(outside)) {
		if outside[name] == "" {
			continue
		}
		if _, err := registry.Open(name, transport.Config{Broker: outside[name]}); err != nil {
			return &exitError{exitUsage, err}
		}
		c.Transports = append(c.Transports, name)
	}
	if c.Seed == 0 {
		c.Seed = rand.Uint64()
	}
	dir, err := os.MkdirTemp("", "miglink-demo-")
	if err != nil {
		return err
	}
	if c.Keep {
		defer fmt.Println("kept:", dir)
	} else {
		defer os.RemoveAll(dir)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, demoTime, errors.New("the demo took too long"))
	defer cancel()

	d := &demo{rounds: c.Rounds, dir: dir, rng: rand.New(rand.NewPCG(c.Seed, 0))}
	defer d.stop()
	fmt.Printf("A controller on a durable ledger and %d agents, each a process of its own, over real sockets.\n", len(c.Transports))
	fmt.Printf("Each agent gets %d commands, and its link is cut once in the middle (seed %d).\n", c.Rounds*len(demoCommands), c.Seed)
	if left := c.leftOut(); len(left) > 0 {
		fmt.Printf("Left out: %s.\n", strings.Join(left, ", "))
	}
	fmt.Println()
	if err := d.start(ctx, c.Transports, outside); err != nil {
		return d.explain(ctx, err)
	}
	screen := newScreen(d)
	var g errgroup.Group
	for _, a := range d.agents {
		g.Go(func() error { return d.drive(ctx, a) })
	}
	err = g.Wait()
	screen.stop()
	if err != nil {
		return d.explain(ctx, err)
	}
	return d.judge()
}

// leftOut is which transports there are besides, and how to have them.
func (c *demoCmd) leftOut() []string {
	var left []string
	for _, name := range registry.Names() {
		switch flag := brokerFlags[name]; {
		case slices.Contains(c.Transports, name) || name == "auto":
		case flag == "" || name == "nats": // a broker comes with the demo
			left = append(left, fmt.Sprintf("%s (--transports %s)", name, name))
		default:
			left = append(left, fmt.Sprintf("%s (--%s URL)", name, flag))
		}
	}
	slices.Sort(left)
	return left
}

// demoCommands are one of each type, as a controller would send them.
var demoCommands = []admin.Send{
	{Type: "register_runner", Parameters: []byte(`{"registration_token":"demo","runner_url":"https://ci.example.com/acme","runner_group":"default","labels":["self-hosted"]}`)},
	{Type: "update_config", Parameters: []byte(`{"config_key":"heartbeat","config_value":"30s"}`)},
	{Type: "set_log_level", Parameters: []byte(`{"level":"info"}`)},
	{Type: "drain", Parameters: []byte(`{"reason":"demo","timeout":"30s"}`)},
	{Type: "shutdown", Parameters: []byte(`{"reason":"demo"}`)},
}

// drive sends all rounds to one agent, and cuts its link in the middle of one.
func (d *demo) drive(ctx context.Context, a *demoAgent) error {
	cut := d.rounds / 2
	for round := range d.rounds {
		ids := make([]string, 0, len(demoCommands))
		starts := make([]time.Time, 0, len(demoCommands))
		for i, s := range demoCommands {
			s.VM = a.vm
			start := time.Now()
			status, err := d.admin.Send(ctx, s)
			if err != nil {
				return err
			}
			a.sent(status.ID)
			ids, starts = append(ids, status.ID), append(starts, start)
			if round == cut && i == a.cutAfter {
				a.cut()
			}
		}
		for i, id := range ids {
			status, err := d.admin.Wait(ctx, id)
			if err != nil {
				return err
			}
			a.settled(status, time.Since(starts[i]))
		}
	}
	return nil
}

// judge compares what the controller says with what the agents' processes have recorded, and prints
// the summary.
func (d *demo) judge() error {
	t := newTable(os.Stdout, "no agents", "transport", "commands", "succeeded", "links cut", "resumed", "lost", "run twice", "p50", "p99")
	lost, twice := 0, 0
	for _, a := range d.agents {
		runs, err := readRecord(a.record)
		if err != nil {
			return err
		}
		r := a.result(runs)
		lost += r.lost
		twice += r.twice
		t.add(a.transport, r.commands, r.succeeded, r.cuts, r.resumed, r.lost, r.twice, r.p50, r.p99)
	}
	if err := t.Render(); err != nil {
		return err
	}
	if lost > 0 || twice > 0 {
		return failed("%d commands lost, %d run twice", lost, twice)
	}
	fmt.Println("\nNothing was lost, and nothing ran twice.")
	return nil
}

func readRecord(name string) (map[string]int, error) {
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	runs := map[string]int{}
	for line := range lines(b) {
		var id, kind string
		if _, err := fmt.Sscan(line, &id, &kind); err == nil {
			runs[id]++
		}
	}
	return runs, nil
}

// explain adds what the children have logged last.
func (d *demo) explain(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	logs, globErr := filepath.Glob(filepath.Join(d.dir, "*.log"))
	if globErr == nil {
		for _, name := range logs {
			if b, readErr := os.ReadFile(name); readErr == nil && len(b) > 0 {
				fmt.Fprintf(os.Stderr, "%s:\n%s\n", filepath.Base(name), lastLines(b, 5))
			}
		}
	}
	return failed("the demo failed: %w", err)
}
