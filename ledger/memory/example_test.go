package memory_test

import (
	"context"
	"fmt"
	"log"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
)

func Example() {
	ctx := context.Background()
	l := memory.New() // controller.New(l, controller.Options{})
	defer l.Close()
	cmd, err := command.New(command.SetLogLevel{Level: "debug"}, command.Options{ID: "c-1"})
	if err != nil {
		log.Fatal(err)
	}
	if _, err := l.Append(ctx, "vm-1", cmd, ledger.Limits{}, time.Now()); err != nil {
		log.Fatal(err)
	}
	pending, err := l.Pending(ctx, "vm-1", ledger.Normal, 0, 0)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(pending), pending[0].Command.ID, pending[0].Seq)
	// Output: 1 c-1 1
}
