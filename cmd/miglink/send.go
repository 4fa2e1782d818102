package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
)

type sendCmd struct {
	VM   string `arg:"" optional:"" help:"VM to send to."`
	Type string `arg:"" optional:"" help:"Command type: register_runner, drain, shutdown, update_config, set_log_level, or one of your own."`

	Params    string        `default:"{}" help:"Parameters as a JSON object; @FILE reads a file, - standard input." placeholder:"JSON"`
	ID        string        `help:"ID of the command. Default: a new one."`
	Key       string        `help:"Idempotency key: a second command with the same key is the first one."`
	TTL       time.Duration `help:"How long the command may wait to be started. Default: for ever."`
	Supersede string        `help:"Commands of this key that have not started are superseded." placeholder:"KEY"`
	Urgent    bool          `help:"Overtake what waits."`
	File      string        `help:"Send many: one JSON object per line, with vm_id, type, parameters, and optional id, ttl, supersede, urgent." placeholder:"FILE"`
	Wait      time.Duration `help:"Wait this long for the outcome."`
	operator
}

func (c *sendCmd) Run(ctx context.Context) error {
	if c.File != "" {
		if c.VM != "" {
			return usage("--file names VMs and types itself")
		}
		return c.sendFile(ctx)
	}
	if c.VM == "" || c.Type == "" {
		return usage("send wants a VM and a type, or --file")
	}
	params, err := readParams(c.Params)
	if err != nil {
		return err
	}
	s := admin.Send{
		VM: c.VM, Type: command.Type(c.Type), Parameters: params, ID: c.ID, TTL: command.Duration(c.TTL),
		IdempotencyKey: c.Key, Supersede: c.Supersede, Urgent: c.Urgent,
	}
	if _, err := s.Command(); err != nil {
		return &exitError{exitUsage, err}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	status, err := client.Send(ctx, s)
	if err != nil {
		return err
	}
	var late error
	if c.Wait > 0 {
		if status, late, err = wait(ctx, client, status, c.Wait); err != nil {
			return err
		}
	}
	if err := c.print(status); err != nil || c.Wait == 0 {
		return err
	}
	if late != nil {
		return late
	}
	return outcome(status)
}

// wait returns the latest status; late says that it is not settled after d.
func wait(ctx context.Context, client *admin.Client, s admin.Status, d time.Duration) (latest admin.Status, late, err error) {
	limit, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	latest, err = client.Wait(limit, s.ID)
	switch {
	case err == nil:
		return latest, nil, nil
	case ctx.Err() != nil:
		return s, nil, ctx.Err()
	case errors.Is(err, context.DeadlineExceeded):
		if latest.ID == "" {
			latest = s
		}
		return latest, &exitError{exitTimeout, fmt.Errorf("%s is %s after %s; it goes on", s.ID, latest.Stage, d)}, nil
	}
	return s, nil, err
}

// outcome is nil only for success.
func outcome(s admin.Status) error {
	if s.Stage == ack.Succeeded {
		return nil
	}
	if s.Reason != "" {
		return failed("%s %s: %s", s.ID, s.Stage, short(s.Reason, 300))
	}
	return failed("%s %s", s.ID, s.Stage)
}

func (c *sendCmd) print(s admin.Status) error {
	if c.json() {
		return printJSON(s)
	}
	known := ""
	if s.Created != nil && !*s.Created {
		known = " (known already)"
	}
	_, err := fmt.Printf("%s %s to %s: %s%s\n", s.ID, s.Type, s.VM, s.Stage, known)
	return err
}

// maxParams is what is read of a file of parameters: one more than allowed, so that the error is the
// same as everywhere.
const maxParams = command.MaxParameters + 1

func readParams(s string) (command.Parameters, error) {
	var in io.Reader
	switch {
	case s == "-":
		in = os.Stdin
	case len(s) > 0 && s[0] == '@':
		f, err := os.Open(s[1:])
		if err != nil {
			return nil, &exitError{exitUsage, err}
		}
		defer f.Close()
		in = f
	default:
		return command.Parameters(s), nil
	}
	b, err := io.ReadAll(io.LimitReader(in, maxParams))
	if err != nil {
		return nil, &exitError{exitUsage, fmt.Errorf("--params: %w", err)}
	}
	return b, nil
}
