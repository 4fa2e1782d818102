package uplink_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/uplink"
)

// For the up side of a transport.Split, whose down side is any transport.
func Example() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", uplink.Handler(c, uplink.HandlerOptions{})))
	server := httptest.NewServer(mux)
	defer server.Close()

	t, err := uplink.New(server.URL, uplink.Options{})
	if err != nil {
		log.Fatal(err)
	}
	link, err := t.Dial(context.Background(), transport.Hello{VM: "vm-1", Uplink: true}) // agent.New(t, …) does
	if err != nil {
		log.Fatal(err)
	}
	defer link.Close()
	p, _ := c.Presence("vm-1")
	fmt.Println("online:", p.Online, "attached:", p.Attached)
	// Output: online: true attached: false
}
