package fault_test

import (
	"context"
	"errors"
	"fmt"
	"log"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// A transport that loses one call in three: the same seed loses the same ones.
func ExampleNew() {
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	t := fault.New(c, fault.Plan{Seed: 1, DialFails: 0.3})
	failed := 0
	for range 100 {
		link, err := t.Dial(context.Background(), transport.Hello{VM: "vm-1"})
		if errors.Is(err, fault.ErrInjected) {
			failed++
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		link.Close()
	}
	fmt.Println(failed == t.Counts().DialFails, failed > 0)
	// Output: true true
}
