package admin_test

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// The operator's API on a mux of its own, and its client.
func Example() {
	ctx := context.Background()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	server := httptest.NewServer(http.StripPrefix("/admin", admin.Handler(c, admin.Options{})))
	defer server.Close()

	client, err := admin.NewClient(server.URL+"/admin", transport.Config{})
	if err != nil {
		log.Fatal(err)
	}
	sent, err := client.Send(ctx, admin.Send{
		VM: "vm-1", Type: command.TypeDrain, Parameters: command.Parameters(`{"reason":"deploy"}`), ID: "c-1",
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(sent.ID, sent.Stage)
	canceled, err := client.Cancel(ctx, "c-1", "not today")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(canceled.ID, canceled.Stage)
	// Output:
	// c-1 queued
	// c-1 canceled
}
