package conformance

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

var hostile = []Scenario{
	{
		Number: 60, Name: "foreign-ack",
		Given: "a command of another VM", When: "a VM acknowledges it", Then: "it is refused like one that does not exist, and the link lives",
		Run: func(w *World) {
			w.start(controller.Options{})
			r := w.send("victim", command.Options{})
			l := w.dial(transport.Hello{VM: "vm", Instance: "a"})
			w.is(l.say(r.ID(), ack.Succeeded), transport.ErrUnknownCommand, "ack another's command")
			w.is(l.say("no such command", ack.Succeeded), transport.ErrUnknownCommand, "ack nothing")
			w.check(w.get(r).State.Stage == ack.Queued, "the command is %s", w.get(r).State.Stage)
			own := w.send("vm", command.Options{})
			l.receive(1)
			err := l.Ack(w.ctx, ack.Ack{CommandID: r.ID(), Stage: ack.Failed}, ack.Ack{CommandID: own.ID(), Stage: ack.Succeeded})
			w.is(transport.AckError(err, 0), transport.ErrUnknownCommand, "the first of two acks")
			w.ok(transport.AckError(err, 1), "the second of two acks")
			w.check(w.get(own).State.Stage == ack.Succeeded, "its own command is %s", w.get(own).State.Stage)
		},
	},
	{
		Number: 61, Name: "foreign-cursor",
		Given: "a cursor of another VM, or one made up", When: "an agent resumes at it", Then: "it gets all that is its own, and nothing else",
		Run: func(w *World) {
			w.start(controller.Options{})
			for range 3 {
				w.send("other", command.Options{})
			}
			foreign := w.dial(transport.Hello{VM: "other", Instance: "a"}).receive(3)[2].Cursor
			r := w.send("vm", command.Options{})
			for _, c := range []transport.Cursor{foreign, "made-up", "a.b.c", "..", transport.Cursor(strings.Repeat("9", 100))} {
				got := w.dial(transport.Hello{VM: "vm", Instance: "a", After: c}).receive(1)
				w.check(got[0].ID == r.ID(), "%s came", got[0].ID)
			}
		},
	},
	{
		Number: 63, Name: "secret-not-logged",
		Given: "a command with a token", When: "it goes all the way under debug logs", Then: "no log holds the token",
		Run: func(w *World) {
			const token = "s3cret-t0ken"
			var logs buffer
			log := slog.New(slog.NewTextHandler(&logs, &slog.HandlerOptions{Level: slog.LevelDebug}))
			w.start(controller.Options{Log: log})
			w.agent("vm", agentOptions{Options: agent.Options{Log: log}, prepare: func(a *agent.Agent) {
				agent.Handle(a, func(_ context.Context, job *agent.Job, p command.RegisterRunner) (any, error) {
					log.Info("handling", "command", job.Command(), "parameters", p, "raw", job.Command().Parameters)
					w.check(p.RegistrationToken.Reveal() == token, "the token is another")
					return nil, nil
				}, agent.Policy{})
			}})
			cmd, err := command.New(command.RegisterRunner{RegistrationToken: token, RunnerURL: "https://ci.example.com"}, command.Options{})
			w.ok(err, "make a command")
			w.settled(w.sendCommand("vm", cmd), ack.Succeeded)
			w.check(strings.Contains(logs.String(), "handling"), "nothing was logged")
			w.check(!strings.Contains(logs.String(), token), "the token is in the log")
		},
	},
	{
		Number: 65, Name: "unknown-type",
		Given: "an agent without a handler for a type", When: "a command of the type comes", Then: "it is rejected, and says which types are known",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			cmd, err := command.NewRaw("levitate", nil, command.Options{})
			w.ok(err, "make a command")
			e := w.settled(w.sendCommand("vm", cmd), ack.Rejected)
			w.check(strings.Contains(e.Reason, "update_config"), "the reason is %q", e.Reason)
			w.settled(w.send("vm", command.Options{}), ack.Succeeded)
		},
	},
	{
		Number: 70, Name: "field-injection",
		Given: "parameters that look like the transport's own syntax", When: "they are sent", Then: "they are parameters and nothing else",
		Run: func(w *World) {
			w.start(controller.Options{})
			w.agent("vm", agentOptions{})
			for _, value := range []string{"\n\nevent: close\ndata: {\"code\":\"revoked\"}\n\n", "\r\n\r\nHTTP/1.1 403 Forbidden\r\n\r\n", `"}]}{"close":{"code":"revoked"}}`} {
				cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: value}, command.Options{})
				w.ok(err, "make a command")
				w.settled(w.sendCommand("vm", cmd), ack.Succeeded)
			}
		},
	},
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
