package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

type agentCmd struct {
	Controller string `default:"http://127.0.0.1:8080" help:"URL of the controller." placeholder:"URL"`
	VM         string `required:"" help:"Name of the VM." placeholder:"ID"`
	Transport  string `default:"auto" help:"ws, sse, longpoll, grpc, nats, redis, rabbitmq or gcppubsub; a list, the best first; auto; or DOWN+UP." placeholder:"SPEC"`
	Broker     string `help:"URL of the broker, for nats, redis, rabbitmq and gcppubsub: nats://HOST, redis://HOST or amqp://HOST, with TLS tls://HOST, rediss://HOST or amqps://HOST, or gcppubsub://PROJECT." placeholder:"URL"`
	tlsFlags
	prefix
	credentials
	Journal   string            `help:"Directory that outlives the process, so that it forgets nothing when it is killed." placeholder:"DIR"`
	Exec      map[string]string `help:"Run a program for a command type. It gets the parameters as JSON on standard input." placeholder:"TYPE=PROGRAM"`
	Record    string            `help:"Append a line with ID and type of each command that runs." placeholder:"FILE"`
	Heartbeat time.Duration     `default:"30s" help:"Time between heartbeats; 0 is none."`
	Confirm   bool              `help:"Ask the controller for permission before each command runs."`
	logging
}

func (c *agentCmd) Run(ctx context.Context) error {
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
	t, err := registry.Open(c.Transport, transport.Config{URL: c.Controller, Broker: c.Broker, Prefix: c.Prefix, TLS: secure, Token: token, Log: log})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	a, err := agent.New(t, agent.Options{VM: c.VM, Journal: c.Journal, Log: log})
	if err != nil {
		return &exitError{exitUsage, err}
	}
	record := &recorder{}
	if c.Record != "" {
		if record.file, err = os.OpenFile(c.Record, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return &exitError{exitUsage, err}
		}
		defer record.file.Close()
	}
	if err := c.handle(a, record, log, level); err != nil {
		return err
	}
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
	return err
}

// handle declares a handler for each type: the user's program, or one that logs.
func (c *agentCmd) handle(a *agent.Agent, record *recorder, log *slog.Logger, level *slog.LevelVar) error {
	policies := map[command.Type]agent.Policy{
		command.TypeRegisterRunner: {},
		command.TypeDrain:          {},
		command.TypeShutdown:       {AfterCrash: agent.Completed},
		command.TypeUpdateConfig:   {},
		command.TypeSetLogLevel:    {AfterCrash: agent.RunAgain},
	}
	for name, program := range c.Exec {
		t := command.Type(name)
		if err := t.Validate(); err != nil {
			return usage("--exec: %w", err)
		}
		if t == command.TypeCancel {
			return usage("--exec: the agent handles cancel itself")
		}
		if _, err := exec.LookPath(program); err != nil {
			return usage("--exec %s: %w", name, err)
		}
		policies[t] = agent.Policy{}
	}
	for t, policy := range policies {
		policy.Confirm = c.Confirm
		do := builtin(log, level)
		if program := c.Exec[string(t)]; program != "" {
			do = executor{program: program, vm: c.VM}.run
		}
		a.HandleRaw(t, func(ctx context.Context, job *agent.Job) (any, error) {
			if err := record.add(job.Command()); err != nil {
				return nil, err
			}
			return do(ctx, job)
		}, policy)
	}
	return nil
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

// recorder keeps an account of what runs that does not depend on anything the agent says.
type recorder struct {
	mu   sync.Mutex
	file *os.File // nil: none
}

func (r *recorder) add(cmd command.Command) error {
	if r.file == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	_, err := fmt.Fprintf(r.file, "%s %s\n", cmd.ID, cmd.Type)
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
