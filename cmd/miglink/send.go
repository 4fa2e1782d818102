package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/alecthomas/kong"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
)

type sendCmd struct {
	VM   string `arg:"" optional:"" help:"VM to send to."`
	Type string `arg:"" optional:"" help:"Command type: register_runner, drain, shutdown, update_config, set_log_level, or one of your own."`

	Params     string        `default:"{}" help:"Parameters as a JSON object; @FILE reads a file, - standard input." placeholder:"JSON"`
	ID         string        `help:"ID of the command; one that is no random UUID takes the grant read. Default: a new one."`
	CreatedAt  time.Time     `help:"When the command was made (RFC 3339, milliseconds count): one with the same ID and another time is refused. Default: the time in an ID that is a UUID of version 7, else whatever it was." placeholder:"TIME"`
	Key        string        `help:"Idempotency key: a second command of the VM with the same key is the first one, unless that has expired or was rejected and was certainly not run. One that is no random UUID takes the grant read for the VM."`
	TTL        time.Duration `help:"How long the command may wait to be started. Default: for ever."`
	RunTimeout time.Duration `help:"How long a run of it may last, 1s to 168h: then it ends as failed. Default: as long as the agent allows commands of its type." placeholder:"DURATION"`
	Supersede  string        `help:"Commands of this key that have not started are superseded." placeholder:"KEY"`
	Urgent     bool          `help:"Overtake what waits, and run beside what runs."`
	File       string        `help:"Send many: one JSON object per line, with vm_id, type, parameters, and optional id, created_at, ttl, run_timeout, idempotency_key, supersede, urgent. Anything else is refused." placeholder:"FILE"`
	Unknown    bool          `name:"unknown-parameters" help:"Send parameters that a type of this program does not have, which are refused else: a newer agent may know them. Of types of your own all are sent."`
	Resume     string        `help:"Go on with a --file that was broken off, whose run this was: what is queued is not sent again." placeholder:"RUN"`
	Wait       time.Duration `help:"Wait this long for the outcome."`
	retry
	operator
}

func (c *sendCmd) Run(ctx context.Context, parsed *kong.Context) error {
	if c.Wait < 0 {
		return usage("--wait is negative")
	}
	for flag, value := range map[string]string{"id": c.ID, "key": c.Key} {
		if value == "" && slices.Contains(given(parsed), flag) {
			return usage("--%s is empty, and would be ignored: what is sent again would run again", flag)
		}
	}
	if c.Retry < 0 {
		return usage("--retry is negative; 0 is not to ask again")
	}
	if c.File != "" {
		if c.VM != "" {
			return usage("--file names VMs and types itself")
		}
		if err := checkBesideFile(given(parsed)); err != nil {
			return err
		}
		return c.sendFile(ctx)
	}
	if c.Resume != "" {
		return usage("--resume is for --file; give --id to repeat one command")
	}
	if c.VM == "" || c.Type == "" {
		return usage("send wants a VM and a type, or --file")
	}
	params, err := readParams(c.Params)
	if err != nil {
		return err
	}
	s := admin.Send{
		VM: c.VM, Type: command.Type(c.Type), Parameters: params, ID: c.ID, CreatedAt: c.CreatedAt, TTL: command.Duration(c.TTL),
		IdempotencyKey: c.Key, Supersede: c.Supersede, Urgent: c.Urgent, RunTimeout: command.Duration(c.RunTimeout),
	}
	cmd, err := s.Command()
	if err == nil && !c.Unknown {
		err = checkNames(cmd)
	}
	if err != nil {
		return &exitError{exitUsage, err}
	}
	s.ID = cmd.ID // which holds when it was made; before it is asked for, so that it can be asked for again
	client, err := c.client()
	if err != nil {
		return err
	}
	var status admin.Status
	asked := 0
	again := fmt.Sprintf("miglink status %s tells, and the same with --id %s does it once", s.ID, s.ID)
	err = change(ctx, c.Retry, s.ID+" is queued", again, func(ctx context.Context) (err error) {
		asked++
		status, err = client.Send(ctx, s)
		return err
	})
	if err != nil {
		return err
	}
	if asked > 1 {
		status.Created = nil // it may have been by us
	}
	var late error
	if c.Wait > 0 {
		sent := status
		status, late, err = wait(ctx, client, status, c.Wait)
		status = asSent(status, sent)
	}
	if printed := c.print(status); printed != nil { // the ID is to be known all the same
		return errors.Join(err, fmt.Errorf("%s is %s, but that could not be printed: %w", status.ID, status.Stage, printed))
	}
	if err != nil || c.Wait == 0 {
		return err
	}
	if late != nil {
		return late
	}
	return outcome(status)
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
	if s.VMKnown != nil && !*s.VMKnown {
		known += " (nothing was ever heard of this VM)"
	}
	return say("%s %s to %s: %s%s", s.ID, s.Type, s.VM, s.Stage, known)
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
	return bytes.TrimPrefix(b, []byte(byteOrderMark)), nil
}
