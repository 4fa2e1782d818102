package subjects_test

import (
	"fmt"

	"github.com/miglink/miglink/conformance/subjects"
)

// What there is to run the suite on; `miglink conformance` does.
func Example() {
	for _, s := range subjects.All() {
		fmt.Println(s.Name)
	}
	// Output:
	// in-process
	// ws
	// sse
	// longpoll
	// grpc
	// nats
	// redis
	// gcppubsub
	// fallback
	// split
	// relay
	// ws-bolt
	// longpoll-bolt
}
