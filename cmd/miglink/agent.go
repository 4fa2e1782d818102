package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/internal/programs"
	"github.com/miglink/miglink/transport"
)

type agentCmd struct {
	Controller string `default:"http://127.0.0.1:8080" help:"URL of the controller." placeholder:"URL"`
	VM         string `required:"" help:"Name of the VM." placeholder:"ID"`
	Transport  string `default:"auto" help:"ws, sse, longpoll, grpc, nats, redis, rabbitmq or gcppubsub; a list, the best first; auto; or DOWN+UP." placeholder:"SPEC"`
	Broker     string `help:"URL of the broker, for nats, redis, rabbitmq and gcppubsub: nats://HOST, redis://HOST or amqp://HOST, with TLS tls://HOST, rediss://HOST or amqps://HOST, or gcppubsub://PROJECT. A password in it can be seen by everybody on the machine: see --broker-file." placeholder:"URL"`
	BrokerFile string `help:"File that holds that URL, for one with a password. It is read again for each connection, so that the password can change." placeholder:"FILE"`
	tlsFlags
	prefix
	credentials
	insecure
	Journal    string                   `help:"Directory that outlives the process, so that it forgets nothing when it is killed. Without it nothing finds the programs of --exec that an agent leaves when it is killed (kill -9): they go on, unknown, but on Windows." placeholder:"DIR"`
	Exec       map[string]string        `help:"Run a program for a command type. It gets the parameters as JSON on standard input. Exit status 0 is success, and what it leaves in the background goes on; else all that it has started is ended." placeholder:"TYPE=PROGRAM"`
	ExecGrace  time.Duration            `default:"5s" help:"How long a program, and what it has started, may take to end when it is asked to (SIGTERM): then it is killed. Whatever stops the agent should leave it twice this time and 15s."`
	RunTimeout map[string]time.Duration `help:"How long a run of a command type may last, 1s to 168h; a command may have a limit of its own, and the smaller counts. Then its program is ended, as --exec-grace says, and the command has failed. Repeatable." placeholder:"TYPE=DURATION"`
	Record     string                   `help:"Append a line with ID and type of each command that runs. Where that cannot be, as on a full disk, the command is deferred." placeholder:"FILE"`
	Heartbeat  time.Duration            `default:"30s" help:"Time between heartbeats; 0 is none."`
	Confirm    bool                     `help:"Ask the controller for permission before each command runs."`
	logging
}

// check refuses what no agent can have. Files, and other things of the machine that the agent is to run on, it leaves alone.
func (c *agentCmd) check() error {
	if err := transport.ValidateVM(c.VM); err != nil {
		return usage("--vm: %w", err)
	}
	if c.Heartbeat < 0 {
		return usage("--heartbeat is negative; 0 is none")
	}
	if c.ExecGrace < 0 {
		return usage("--exec-grace is negative; with 0 programs are killed at once")
	}
	for name := range c.Exec {
		t := command.Type(name)
		if err := t.Validate(); err != nil {
			return usage("--exec: %w", err)
		}
		if t == command.TypeCancel {
			return usage("--exec: the agent handles cancel itself")
		}
	}
	if err := c.checkRunTimeouts(); err != nil {
		return err
	}
	if c.BrokerFile != "" { // what is in it may be missing here
		return nil
	}
	if _, err := registry.Open(c.Transport, transport.Config{URL: c.Controller, Broker: c.Broker, Prefix: c.Prefix}); err != nil {
		return &exitError{exitUsage, err}
	}
	return nil
}

func (c *agentCmd) Run(ctx context.Context) error {
	if err := c.check(); err != nil {
		return err
	}
	if err := c.readBroker(); err != nil {
		return err
	}
	outlive()
	log, level, err := c.logger()
	if err != nil {
		return err
	}
	token, err := c.token()
	if err != nil {
		return err
	}
	secure, err := c.config(log, c.Controller, c.Broker)
	if err != nil {
		return err
	}
	open := func(broker string) (transport.Transport, error) {
		return registry.Open(c.Transport, transport.Config{URL: c.Controller, Broker: broker, Prefix: c.Prefix, TLS: secure, Token: token, Insecure: c.Insecure, Log: log})
	}
	t, err := open(c.Broker)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	if c.BrokerFile != "" {
		urls := &rotated{file: c.BrokerFile, url: c.Broker, log: log.With("component", "agent"), read: func() (string, error) { return brokerIn(c.BrokerFile) }}
		t = &rotatedTransport{urls: urls, open: open, url: c.Broker, opened: t}
	}
	options := agent.Options{VM: c.VM, Journal: c.Journal, Log: log}
	if len(c.Exec) > 0 {
		options.StopGrace = c.ExecGrace + stopMargin
		options.RunGrace = max(runGrace, c.ExecGrace+stopMargin) // a program is killed before its run is abandoned
	}
	a, err := agent.New(t, options)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	record := &recorder{path: c.Record}
	if err := record.open(); err != nil && !logfile.NoRoom(err) {
		return &exitError{exitUsage, err}
	}
	defer record.close()
	for name, program := range c.Exec {
		if _, err := exec.LookPath(program); err != nil {
			return usage("--exec %s: %w", name, err)
		}
	}
	records, err := c.programs(ctx, log)
	if err != nil {
		return err
	}
	if records != nil {
		defer records.Close()
	}
	c.handle(a, record, records, log, level)
	to := c.Controller
	if brokerFlags[c.Transport] != "" {
		to = "the broker" // its URL may hold a password
	}
	fmt.Printf("agent: %s, to %s by %s\n", c.VM, to, c.Transport)

	beats, stop := context.WithCancel(ctx)
	var beating sync.WaitGroup
	if c.Heartbeat > 0 {
		beating.Go(func() { c.beat(beats, a) })
	}
	err = a.Run(ctx)
	stop()
	beating.Wait()
	return ended(err)
}

// ended is why an agent has ended: what its controller said, or its journal.
func ended(err error) error {
	if errors.Is(err, transport.ErrRevoked) { // of an operator it would be credentials to renew
		return &exitError{exitRevoked, err}
	}
	if err == nil || errors.As(err, new(*transport.Error)) {
		return err
	}
	return stored(err)
}

// policies are how commands of the known types run, by the agent or by a program. Other types have the zero Policy.
func policies() map[command.Type]agent.Policy {
	return map[command.Type]agent.Policy{
		command.TypeRegisterRunner: {},
		command.TypeDrain:          {},
		command.TypeShutdown:       {AfterCrash: agent.Completed},
		command.TypeUpdateConfig:   {},
		command.TypeSetLogLevel:    {AfterCrash: agent.RunAgain},
	}
}

// checkRunTimeouts refuses limits that are out of range, or of types that the agent does not know.
func (c *agentCmd) checkRunTimeouts() error {
	known := policies()
	for name, limit := range c.RunTimeout {
		if _, ok := known[command.Type(name)]; !ok && c.Exec[name] == "" {
			return usage("--run-timeout %s: the agent has no handler for this type; --exec gives it one", name)
		}
		if limit == 0 {
			return usage("--run-timeout %s is 0; leave it out for no limit", name)
		}
		if err := command.ValidateRunTimeout(limit); err != nil {
			return usage("--run-timeout %s: %w", name, err)
		}
	}
	return nil
}

// handle declares a handler for each type: the user's program, or one that logs.
func (c *agentCmd) handle(a *agent.Agent, record *recorder, records *programs.Records, log *slog.Logger, level *slog.LevelVar) {
	types := policies()
	for name := range c.Exec {
		if _, known := types[command.Type(name)]; !known {
			types[command.Type(name)] = agent.Policy{}
		}
	}
	for t, policy := range types {
		policy.Confirm, policy.RunTimeout = c.Confirm, c.RunTimeout[string(t)]
		do := builtin(log, level)
		if path := c.Exec[string(t)]; path != "" {
			do = executor{path, c.VM, c.ExecGrace, records}.run
		}
		a.HandleRaw(t, func(ctx context.Context, job *agent.Job) (any, error) {
			if err := record.add(job.Command()); err != nil {
				return nil, agent.RetryLater(recordRetry, "the command was not started: --record: "+err.Error())
			}
			return do(ctx, job)
		}, policy)
	}
}

// builtin handlers change nothing but the log level.
func builtin(log *slog.Logger, level *slog.LevelVar) func(context.Context, *agent.Job) (any, error) {
	return func(_ context.Context, job *agent.Job) (any, error) {
		cmd := job.Command()
		if err := check(cmd); err != nil {
			return nil, agent.Reject(err.Error())
		}
		if cmd.Type == command.TypeSetLogLevel {
			p, err := command.Decode[command.SetLogLevel](cmd)
			if err != nil {
				return nil, agent.Reject(err.Error())
			}
			if err := level.UnmarshalText([]byte(strings.ToUpper(p.Level))); err != nil {
				return nil, agent.Reject(err.Error())
			}
		}
		log.Info("command carried out", "component", "agent", "command_id", cmd.ID, "type", cmd.Type)
		return nil, nil
	}
}

// check validates the parameters of the known types.
func check(cmd command.Command) error {
	_, err := command.NewRaw(cmd.Type, cmd.Parameters, command.Options{})
	return err
}

func (c *agentCmd) beat(ctx context.Context, a *agent.Agent) {
	for {
		err := a.Report(ctx, event.Event{
			Type: event.TypeHeartbeat, Timestamp: time.Now().UTC(), VMID: c.VM,
			Heartbeat: &event.Heartbeat{MigletState: "running"},
		})
		if err != nil && ctx.Err() != nil || !sleep(ctx, c.Heartbeat) {
			return
		}
	}
}
