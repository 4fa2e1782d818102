// Command peers measures what else could carry a command to a VM and its ack back, beside Miglink over
// WebSocket and a bare gorilla loop: in one run, in turns, each with the controller and its broker, if it
// has one, in this process and the agents in another, over loopback. It says what each promises, too:
// speed is bought with promises.
//
//	go run .
//
// It is a module of its own, so that nothing of the peers gets into the one that others import.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
)

type cli struct {
	Measure measureCmd `cmd:"" default:"withargs" help:"Measure all, and print tables."`
	Agents  agentsCmd  `cmd:"" hidden:""`
}

func main() {
	var c cli
	parsed := kong.Parse(&c, kong.Name("peers"), kong.Description("What else could carry commands, measured beside Miglink."))
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	parsed.BindTo(ctx, (*context.Context)(nil))
	err := parsed.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

type measureCmd struct {
	options
	JSON bool `name:"json" help:"Print JSON instead of tables; times are in nanoseconds."`
}

func (c *measureCmd) Run(ctx context.Context) error {
	var err error
	if c.program, err = os.Executable(); err != nil {
		return err
	}
	c.progress = func(done string) { fmt.Fprintln(os.Stderr, done) }
	r, err := c.measure(ctx)
	if err != nil {
		return err
	}
	if c.JSON {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return e.Encode(r)
	}
	r.writeTables(os.Stdout)
	return nil
}
