package bench_test

import (
	"context"
	"log"
	"os"

	"github.com/miglink/miglink/bench"
)

// A program that measures is its own other processes, too.
func Example() {
	if len(os.Args) == 3 && os.Args[1] == "child" {
		log.Fatal(bench.RunChild(os.Args[2]))
	}
	report, err := bench.Run(context.Background(), bench.Options{
		Program:    []string{os.Args[0], "child"},
		Transports: []string{"ws", "longpoll"},
	})
	if err != nil {
		log.Fatal(err)
	}
	report.WriteTables(os.Stdout)
}
