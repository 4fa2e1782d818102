package conformance_test

import (
	"context"
	"fmt"
	"log"
	"testing"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// mine is a transport of your own: the server half in front of the controller, and the client half.
var mine = conformance.Subject{
	Name: "mine",
	Open: func(env *conformance.Env, controller transport.Transport) (transport.Transport, error) {
		url, err := env.ServeHTTP(web.Handler(controller, web.Options{Authenticator: env.Authenticator()}))
		if err != nil {
			return nil, err
		}
		return ws.New(url, ws.Options{Token: env.Token})
	},
}

// The whole test of a transport of your own.
func ExampleTest() {
	_ = func(t *testing.T) { // func TestConformance(t *testing.T)
		conformance.Test(t, mine)
	}
}

// Without package testing, and only some of the scenarios.
func ExampleRun() {
	scenarios, err := conformance.Select([]string{"1", "2"})
	if err != nil {
		log.Fatal(err)
	}
	report, err := conformance.Run(context.Background(), []conformance.Subject{mine}, conformance.Options{Scenarios: scenarios})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(report.Results), "results,", len(report.Failed()), "failed")
	// Output: 2 results, 0 failed
}
