package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/miglink/miglink/bench"
)

type benchCmd struct {
	Measures   []string      `help:"idle, roundtrip, throughput, storm. Default: all." placeholder:"NAME,…"`
	Transports []string      `help:"Transports to measure. Default: those for which there is a broker, or that need none." placeholder:"NAME,…"`
	Ledgers    []string      `help:"memory, bolt. Default: both." placeholder:"NAME,…"`
	Redis      string        `help:"Measure redis, too, on this server." placeholder:"redis://HOST:6379"`
	AMQP       string        `help:"Measure rabbitmq, too, on this broker." placeholder:"amqp://HOST:5672"`
	Rounds     int           `default:"10" help:"Rounds in which all take turns."`
	Turn       time.Duration `default:"200ms" help:"Time of a turn; one of throughput takes five."`
	VMs        int           `name:"vms" default:"100" help:"VMs that commands go to, for throughput."`
	Window     int           `default:"64" help:"Commands under way to each of them."`
	Fleet      int           `default:"1000" help:"VMs that are idle, or dial at once."`
	Output     string        `enum:"table,json,benchstat" default:"table" help:"table, json or benchstat."`
	HTML       string        `name:"html" help:"Write a page with charts, too." placeholder:"FILE"`
}

func (c *benchCmd) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := bench.Options{
		Program:  []string{self, "bench-agents"},
		Measures: c.Measures, Transports: c.Transports, Ledgers: c.Ledgers, Redis: c.Redis, AMQP: c.AMQP,
		Rounds: c.Rounds, Turn: c.Turn, VMs: c.VMs, Window: c.Window, Fleet: c.Fleet,
	}
	if err := o.Check(); err != nil {
		return &exitError{exitUsage, err}
	}
	bar := newBar("turns", o.Steps())
	o.Each = bar.done
	report, err := bench.Run(ctx, o)
	bar.stop()
	if err != nil {
		return err
	}
	if c.HTML != "" {
		if err := c.page(report); err != nil {
			return err
		}
	}
	switch c.Output {
	case "json":
		return printJSON(report)
	case "benchstat":
		report.WriteBenchmarks(os.Stdout)
	default:
		report.WriteTables(os.Stdout)
	}
	return nil
}

func (c *benchCmd) page(r bench.Report) error {
	f, err := os.Create(c.HTML)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	return errors.Join(r.WritePage(f), f.Close())
}

// benchAgentsCmd is the other process of bench.
type benchAgentsCmd struct {
	Kind   string `arg:""`
	URL    string `arg:""`
	Prefix string `arg:""`
	Count  string `arg:""`
}

func (c *benchAgentsCmd) Run() error { return bench.RunAgents(c.Kind, c.URL, c.Prefix, c.Count) }
