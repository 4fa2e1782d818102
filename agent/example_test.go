package agent_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/ws"
)

// A MIGlet: one typed handler per command type, then Run. The controller is in the same process
// here; over a network the transport comes from a configuration flag, see New's example.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()

	a, err := agent.New(c, agent.Options{VM: "vm-123"})
	if err != nil {
		log.Fatal(err)
	}
	agent.Handle(a, func(_ context.Context, _ *agent.Job, p command.Drain) (any, error) {
		fmt.Println("draining:", p.Reason)
		return map[string]int{"jobs_left": 0}, nil
	}, agent.Policy{AfterCrash: agent.RunAgain})
	agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) {
		return nil, errors.New("the file system is read-only")
	}, agent.Policy{})
	ran := make(chan error)
	go func() { ran <- a.Run(ctx) }()

	for _, p := range []command.Params{
		command.Drain{Reason: "deploy"},
		command.UpdateConfig{ConfigKey: "poll_interval", ConfigValue: "30s"},
	} {
		cmd, err := command.New(p, command.Options{})
		if err != nil {
			log.Fatal(err)
		}
		receipt, err := c.Send(ctx, "vm-123", cmd)
		if err != nil {
			log.Fatal(err)
		}
		entry, err := receipt.Wait(ctx)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println(cmd.Type, entry.State.Stage, entry.Reason, string(entry.Result))
	}
	stop()
	if err := <-ran; err != nil {
		log.Fatal(err)
	}
	// Output:
	// draining: deploy
	// drain succeeded  {"jobs_left":0}
	// update_config failed the file system is read-only
}

// The whole of a MIGlet's main: a flag selects the transport, a directory keeps what must survive
// the process.
func ExampleNew() {
	ctx := context.Background() // signal.NotifyContext in a program

	t, err := transport.Registry{
		{Name: "ws", Open: ws.Open}, {Name: "sse", Open: sse.Open}, {Name: "longpoll", Open: longpoll.Open},
	}.Open("auto", transport.Config{URL: "https://controller.example.com"})
	if err != nil {
		log.Fatal(err)
	}
	a, err := agent.New(t, agent.Options{VM: "vm-123", Journal: "/var/lib/miglet/journal"})
	if err != nil {
		log.Fatal(err)
	}
	agent.Handle(a, func(ctx context.Context, _ *agent.Job, p command.RegisterRunner) (any, error) {
		return nil, register(ctx, p.RunnerURL, p.RegistrationToken.Reveal())
	}, agent.Policy{Confirm: true}) // not if it was cancelled meanwhile
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Shutdown) (any, error) {
		job.Finally(powerOff) // once the controller knows
		return nil, nil
	}, agent.Policy{AfterCrash: agent.Completed})
	go func() {
		_ = a.Report(ctx, event.Event{Type: event.VMStarted}) // the end of Run
	}()
	if err := a.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

func register(context.Context, string, string) error { return nil }

func powerOff() {}

// Drain the runner first, then try again; the command keeps its place.
func ExampleRetryLater() {
	busy := func() bool { return true }
	handler := func(context.Context, *agent.Job, command.Drain) (any, error) {
		if busy() {
			return nil, agent.RetryLater(30e9, "a job is running")
		}
		return nil, nil
	}
	_, err := handler(context.Background(), nil, command.Drain{})
	fmt.Println(err)
	// Output: retry after 30s: a job is running
}
