package rabbitmq_test

import (
	"context"
	"log"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// The controller's half. All controllers of a broker may do the same.
func ExampleListen() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	l, err := rabbitmq.Listen(context.Background(), "amqp://controller:password@broker:5672", c, rabbitmq.ListenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
}

// The agent's half, by itself; package agent dials as often as it takes.
func ExampleNew() {
	t, err := rabbitmq.New("amqp://vm-1:password@broker:5672", rabbitmq.Options{})
	if err != nil {
		log.Fatal(err)
	}
	link, err := t.Dial(context.Background(), transport.Hello{VM: "vm-1", Instance: "i-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
}
