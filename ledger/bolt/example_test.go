package bolt_test

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/bolt"
)

// What a controller has accepted is there when another one opens the directory.
func Example() {
	ctx := context.Background()
	dir, err := os.MkdirTemp("", "miglink")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)

	l, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		log.Fatal(err)
	}
	c := controller.New(l, controller.Options{})
	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{ID: "c-1"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := c.Send(ctx, "vm-1", cmd); err != nil {
		log.Fatal(err)
	}
	c.Close()
	if err := l.Close(); err != nil {
		log.Fatal(err)
	}

	l, err = bolt.Open(dir, bolt.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	entry, err := l.Get(ctx, "c-1")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(entry.VM, entry.Command.Type, entry.State.Stage)
	// Output: vm-1 drain queued
}
