package bench_test

import (
	"context"
	"log"
	"os"

	"github.com/miglink/miglink/bench"
)

// A program that measures is its own agents, too.
func Example() {
	if len(os.Args) == 6 && os.Args[1] == "agents" {
		log.Fatal(bench.RunAgents(os.Args[2], os.Args[3], os.Args[4], os.Args[5]))
	}
	report, err := bench.Run(context.Background(), bench.Options{
		Program:    []string{os.Args[0], "agents"},
		Transports: []string{"ws", "longpoll"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report.WriteTables(os.Stdout)
}
