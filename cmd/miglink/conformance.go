package main

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

type conformanceCmd struct {
	Subjects  []string `help:"Transports to test, as the report names them. Default: all." placeholder:"NAME,…"`
	Redis     string   `help:"Test redis on this server rather than on one in the process." placeholder:"redis://HOST:6379"`
	AMQP      string   `help:"Test rabbitmq, too, on this broker." placeholder:"amqp://HOST:5672"`
	Scenarios []string `help:"Scenarios to run, by number or name. Default: all." placeholder:"N,…"`
	Seed      uint64   `help:"Of the faults, to replay a run. Default: a new one."`
	Output    string   `enum:"table,json" default:"table" help:"table or json."`
}

func (c *conformanceCmd) Run(ctx context.Context) error {
	chosen, err := c.subjects()
	if err != nil {
		return err
	}
	scenarios, err := conformance.Select(c.Scenarios)
	if err != nil {
		return &exitError{exitUsage, err}
	}
	bar := newBar("scenarios", len(chosen)*len(scenarios))
	report, err := conformance.Run(ctx, chosen, conformance.Options{
		Scenarios: scenarios,
		Seed:      c.Seed,
		Each:      func(conformance.Result) { bar.done() },
	})
	bar.stop()
	if err != nil {
		return failed("the scenarios could not be run: %w", err)
	}
	if c.Output == "json" {
		err = printJSON(report)
	} else {
		err = report.WriteTable(os.Stdout)
	}
	if err != nil {
		return err
	}
	if n := len(report.Failed()); n > 0 {
		return failed("%d scenarios failed; --seed %d replays the faults", n, report.Seed)
	}
	return nil
}

func (c *conformanceCmd) subjects() ([]conformance.Subject, error) {
	all := subjects.All()
	if c.Redis != "" {
		all[slices.IndexFunc(all, func(s conformance.Subject) bool { return s.Name == "redis" })] = subjects.RedisAt(c.Redis)
	}
	if c.AMQP != "" {
		all = append(all, subjects.RabbitMQAt(c.AMQP))
	}
	if len(c.Subjects) == 0 {
		return all, nil
	}
	var names []string
	for _, s := range all {
		names = append(names, s.Name)
	}
	for _, name := range c.Subjects {
		if !slices.Contains(names, name) {
			return nil, usage("there is no subject %q: there are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(s conformance.Subject) bool { return !slices.Contains(c.Subjects, s.Name) }), nil
}
