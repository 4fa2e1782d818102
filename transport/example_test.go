package transport_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/ws"
)

// A registry is what a program links; a configuration flag selects from it.
func ExampleRegistry_Open() {
	linked := transport.Registry{
		{Name: "ws", Open: ws.Open}, {Name: "sse", Open: sse.Open}, {Name: "longpoll", Open: longpoll.Open},
	}
	config := transport.Config{URL: "https://controller.example.com"}
	for _, flag := range []string{"ws", "ws,longpoll", "auto", "sse+ws", "pigeon"} {
		_, err := linked.Open(flag, config)
		fmt.Println(flag, err)
	}
	// Output:
	// ws <nil>
	// ws,longpoll <nil>
	// auto <nil>
	// sse+ws <nil>
	// pigeon unknown transport "pigeon": known are ws, sse, longpoll, a list of them, auto, and DOWN+UP
}

// A Fallback takes the first of its ways that works.
func ExampleNewFallback() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	t := transport.NewFallback(transport.FallbackOptions{},
		transport.Way{Name: "ws", Transport: blocked{}},
		transport.Way{Name: "in-process", Transport: c},
	)
	link, err := t.Dial(context.Background(), transport.Hello{VM: "vm-1"})
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	p, _ := c.Presence("vm-1")
	fmt.Println("online:", p.Online)
	// Output: online: true
}

// blocked is a way that a proxy does not let pass.
type blocked struct{}

func (blocked) Dial(context.Context, transport.Hello) (transport.Link, error) {
	return nil, errors.New("502 Bad Gateway")
}

// A Split has commands come down one way, and acks and events go up another.
func ExampleSplit() {
	const url = "https://controller.example.com"
	down, err := sse.New(url, sse.Options{})
	if err != nil {
		log.Fatal(err)
	}
	up, err := ws.New(url, ws.Options{})
	if err != nil {
		log.Fatal(err)
	}
	t := transport.Split(down, up) // agent.New(t, …)
	fmt.Println(t != nil)
	// Output: true
}

// What a peer says keeps its code over every wire.
func ExampleError() {
	err := fmt.Errorf("ws: %w", &transport.Error{Code: transport.CodeUnavailable, Message: "the controller restarts", RetryAfter: 7e9})
	fmt.Println(errors.Is(err, transport.ErrUnavailable), transport.RetryAfter(err), transport.Terminal(err))
	// Output: true 7s false
}
