package ws_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/ws"
)

// One connection per VM.
func Example() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.Handle("GET /api/v1/vms/{vm_id}/commands/ws", ws.Handler(c, ws.HandlerOptions{}))
	server := httptest.NewServer(mux)
	defer server.Close()

	t, err := ws.New(server.URL, ws.Options{})
	if err != nil {
		log.Fatal(err)
	}
	link, err := t.Dial(context.Background(), transport.Hello{VM: "vm-1"}) // agent.New(t, …) does
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	p, _ := c.Presence("vm-1")
	fmt.Println("online:", p.Online, "over", p.Transport)
	// Output: online: true over ws
}
