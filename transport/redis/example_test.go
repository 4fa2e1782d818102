package redis_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// Both halves, over a server.
func Example() {
	server := miniredis.NewMiniRedis()
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	url := "redis://" + server.Addr()
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	l, err := redis.Listen(ctx, url, c, redis.ListenOptions{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()

	t, err := redis.New(url, redis.Options{})
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
