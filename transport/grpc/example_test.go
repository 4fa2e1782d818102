package grpc_test

import (
	"context"
	"fmt"
	"log"
	"net"
	"net/http"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/web"
)

// Both halves, on one server with the HTTP transports.
func Example() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	server := web.NewServer(ctx, mux, web.ServerOptions{})
	defer server.Close()
	go server.Serve(listener)

	t, err := grpc.New("http://"+listener.Addr().String(), grpc.Options{})
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
