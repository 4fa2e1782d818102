package nats_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/nats"
)

// Both halves, over a broker.
func Example() {
	broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		log.Fatal(err)
	}
	broker.Start()
	defer broker.WaitForShutdown()
	defer broker.Shutdown()
	if !broker.ReadyForConnections(10 * time.Second) {
		log.Fatal("the broker does not start")
	}
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	l, err := nats.Listen(ctx, broker.ClientURL(), c, nats.ListenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	t, err := nats.New(broker.ClientURL(), nats.Options{})
	if err != nil {
		log.Fatal(err)
	}
	link, err := t.Dial(ctx, transport.Hello{VM: "vm-1", Instance: "i-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Send(ctx, "vm-1", cmd); err != nil {
		log.Fatal(err)
	}
	page, err := link.Receive(ctx)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(page[0].Type)
	// Output: drain
}
