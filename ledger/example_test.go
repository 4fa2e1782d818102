package ledger_test

import (
	"fmt"
	"log"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// The rules are the same for every store: what an ack does to an entry is a pure function of it.
func ExampleEntry() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{ID: "c-1"})
	if err != nil {
		log.Fatal(err)
	}
	e := ledger.NewEntry("vm-1", 1, cmd, now)
	e.Delivered(1, now)
	for _, stage := range []ack.Stage{ack.Succeeded, ack.Received} { // in the wrong order
		if err := e.Acked(ack.Ack{CommandID: "c-1", Stage: stage, Attempt: 1}, ledger.Speaker{}, now); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println(e.State.Stage) // a stage never goes backwards
	// Output: succeeded
}
