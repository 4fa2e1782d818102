package main

import (
	"context"
	"errors"
	"os"
	"time"

	"github.com/miglink/miglink/bench"
)

type benchCmd struct {
	Measures   []string `help:"idle, roundtrip, load, throughput, durable, storm, reconnect, broadcast, growth. Default: all." placeholder:"NAME,…"`
	Transports []string `help:"Transports to measure, and tcp, which is bytes there and back. Default: those for which there is a broker, or that need none." placeholder:"NAME,…"`
	Ledgers    []string `help:"memory, bolt. Default: both." placeholder:"NAME,…"`
	Controller string   `env:"-" help:"Measure this controller, through its admin API, instead of one of ours." placeholder:"URL"`
	TokenFile  string   `type:"existingfile" help:"File with the bearer token that it wants." placeholder:"FILE"`
	insecure
	Redis    string        `help:"Measure redis, too, on this server." placeholder:"redis://HOST:6379"`
	AMQP     string        `help:"Measure rabbitmq, too, on this broker." placeholder:"amqp://HOST:5672"`
	Rounds   int           `default:"10" help:"Rounds in which all take turns."`
	Turn     time.Duration `default:"200ms" help:"Time of a turn; one of load or throughput takes five."`
	VMs      int           `name:"vms" default:"100" help:"VMs that commands go to, for load and throughput."`
	Window   int           `default:"64" help:"Commands under way to each of them."`
	Rate     int           `default:"1000" help:"Commands that are due in a second, for load and reconnect."`
	Fleet    int           `default:"2000" help:"VMs that are idle, dial at once, or come back."`
	Calm     time.Duration `default:"20s" help:"How long nothing happens before a VM counts as idle: signs of life come every 15s."`
	Outage   time.Duration `help:"How long the controller is away, for reconnect. Default: as long as it takes to start." placeholder:"DURATION"`
	Audience int           `default:"10000" help:"VMs that a broadcast goes to; one in ten is linked."`
	Known    []int         `default:"10,100,1000,10000" help:"VMs that are known, for growth; the first are linked."`
	Past     int           `default:"1000000" help:"Settled commands in the ledger, for growth."`
	Delay    time.Duration `help:"Delay all that passes, each way." placeholder:"DURATION"`
	Jitter   time.Duration `help:"And by up to so much more." placeholder:"DURATION"`
	Loss     float64       `help:"Lose so much of all packets, each way: 0.01 is one of a hundred, which then takes 200ms and a round trip longer." placeholder:"SHARE"`
	Seed     uint64        `help:"Of jitter and loss. Default: random, and printed." placeholder:"N"`
	OneCPU   bool          `name:"one-cpu" help:"Keep controller and agents to one CPU, where code counts and wake-ups do not. Linux."`
	Goals    bool          `help:"Judge by the goals of this library, which are for the default sizes."`
	Output   string        `enum:"table,json,benchstat" default:"table" help:"table, json or benchstat."`
	Profile  string        `type:"existingdir" help:"Write CPU profiles of the controller and the agents into this folder." placeholder:"FOLDER"`
	HTML     string        `name:"html" help:"Write a page with charts, too." placeholder:"FILE"`
}

func (c *benchCmd) Run(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o := bench.Options{
		Program:  []string{self, "bench-child"},
		Measures: c.Measures, Transports: c.Transports, Ledgers: c.Ledgers, Controller: c.Controller, TokenFile: c.TokenFile, Insecure: c.Insecure, Redis: c.Redis, AMQP: c.AMQP,
		Rounds: c.Rounds, Turn: c.Turn, VMs: c.VMs, Window: c.Window, Rate: c.Rate, Fleet: c.Fleet, Calm: c.Calm, Outage: c.Outage, Audience: c.Audience, Known: c.Known, Past: c.Past, Delay: c.Delay, Jitter: c.Jitter, Loss: c.Loss, Seed: c.Seed, OneCPU: c.OneCPU, Profile: c.Profile,
	}
	if err := o.Check(); err != nil {
		return &exitError{exitUsage, err}
	}
	var page *os.File
	if c.HTML != "" { // better known now than after minutes
		if page, err = os.Create(c.HTML); err != nil {
			return &exitError{exitUsage, err}
		}
		defer page.Close()
	}
	bar := newBar("turns", o.Steps())
	o.Each = bar.done
	report, broken := bench.Run(ctx, o) // what it has is worth printing also where it failed
	bar.stop()
	if c.Goals {
		report.Goals = report.Judge()
	}
	if page != nil {
		err = errors.Join(report.WritePage(page), page.Close())
	}
	switch c.Output {
	case "json":
		err = errors.Join(err, printJSON(report))
	case "benchstat":
		report.WriteBenchmarks(os.Stdout)
	default:
		report.WriteTables(os.Stdout)
	}
	if broken != nil {
		return failed("the measurement failed: %w", broken)
	}
	return err
}

// benchChildCmd is another process of bench.
type benchChildCmd struct {
	Task string `arg:""`
}

func (c *benchChildCmd) Run() error { return bench.RunChild(c.Task) }
