package controller_test

import (
	"context"
	"fmt"
	"log"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// A controller sends a command and waits for what becomes of it. The agent here is a few lines in
// the same process; over a network it is package agent, and web.Handler(c, web.Options{}) serves c.
func Example() {
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()

	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{IdempotencyKey: "deploy-42"})
	if err != nil {
		log.Fatal(err)
	}
	receipt, err := c.Send(ctx, "vm-123", cmd) // durable now, whether or not vm-123 is there
	if err != nil {
		log.Fatal(err)
	}

	link, err := c.Dial(ctx, transport.Hello{VM: "vm-123", Instance: "process-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	page, err := link.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, d := range page {
		if err := link.Ack(ctx, ack.Ack{CommandID: d.ID, Stage: ack.Succeeded}); err != nil {
			log.Fatal(err)
		}
	}

	entry, err := receipt.Wait(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entry.Command.Type, entry.State.Stage)
	for _, step := range entry.History {
		fmt.Println("-", step.Stage)
	}
	// Output:
	// drain succeeded
	// - queued
	// - delivered
	// - succeeded
}

// Sending is safe to repeat: with an idempotency key the second command is the first one.
func ExampleController_Send() {
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	for range 2 {
		cmd, err := command.New(command.RegisterRunner{
			RegistrationToken: "AAB3…",
			RunnerURL:         "https://github.com/acme",
		}, command.Options{IdempotencyKey: "job-7"})
		if err != nil {
			log.Fatal(err)
		}
		receipt, err := c.Send(ctx, "vm-123", cmd)
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("created:", receipt.Created())
	}
	// Output:
	// created: true
	// created: false
}
