// Command miglink runs a controller or an agent, sends commands and watches what becomes of them, and
// proves the promises of every transport.
//
// Exit status: 0 success, and for a command that was waited for: succeeded; 1 it ended otherwise, or a
// check failed; 2 bad flags or bad input; 3 the controller cannot be reached, or refused; 4 still going
// on when the time to wait was up; 5 bad or expired credentials, or none; 6 good ones, without the grant that this
// needs; 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	goredis "github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/transport"
)

type cli struct {
	Demo        demoCmd        `cmd:"" help:"A controller and an agent per transport, as processes of their own; every link is cut once."`
	Controller  controllerCmd  `cmd:"" help:"Run a controller."`
	Agent       agentCmd       `cmd:"" help:"Run an agent."`
	Token       tokenCmd       `cmd:"" help:"Print a token for a VM or an operator, or make the key that signs them."`
	Send        sendCmd        `cmd:"" help:"Send a command to a VM, or many from a file."`
	Status      statusCmd      `cmd:"" help:"Show a command, the commands of a VM, or the fleet."`
	Fleet       fleetCmd       `cmd:"" help:"List the VMs."`
	Cancel      cancelCmd      `cmd:"" help:"Ask for a command to be cancelled."`
	Watch       watchCmd       `cmd:"" help:"Print what happens, as it happens."`
	Conformance conformanceCmd `cmd:"" help:"Prove the promises of every transport, and print a table."`
	Bench       benchCmd       `cmd:"" help:"Measure every transport beside a bare loop of its kind, and print tables."`
	BenchChild  benchChildCmd  `cmd:"" hidden:""`
	Version     versionCmd     `cmd:"" help:"Print the version."`
}

const description = `Commands from a controller to the agent on each VM, over whichever transport the network allows.

Every flag can be set from the environment, as MIGLINK_ and its name.

Exit status: 0 success, and for a command that was waited for: succeeded. 1 it ended otherwise, or a check failed. 2 bad flags or input. 3 the controller cannot be reached, or refused. 4 still going on when the time to wait was up. 5 bad or expired credentials, or none. 6 good ones, without the grant that this needs. 130 interrupted.`

// exitError is an error with an exit status of its own.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitTimeout     = 4
	exitCredentials = 5
	exitForbidden   = 6
	exitInterrupted = 130
)

func failed(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

func main() { os.Exit(run(os.Args[1:])) }

func run(args []string) int {
	goredis.SetLogger(quiet{})
	var c cli
	parser := kong.Must(&c,
		kong.Name("miglink"),
		kong.Description(description),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.DefaultEnvars("MIGLINK"),
	)
	command, err := parser.Parse(args)
	if err != nil {
		fmt.Fprintf(os.Stderr, "miglink: %s (miglink --help lists commands and flags)\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends the process at once
	command.BindTo(ctx, (*context.Context)(nil))
	err = command.Run()
	if err == nil {
		return 0
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		fmt.Fprintln(os.Stderr, "miglink: interrupted")
		return exitInterrupted
	}
	hint := ""
	if c, ok := command.Selected().Target.Addr().Interface().(interface{ hint(err error) string }); ok {
		hint = c.hint(err)
	}
	fmt.Fprintf(os.Stderr, "miglink: %s%s\n", strings.TrimPrefix(err.Error(), "miglink: "), hint)
	return exitStatus(err)
}

func exitStatus(err error) int {
	var own *exitError
	if errors.As(err, &own) {
		return own.status
	}
	var said *transport.Error
	if errors.As(err, &said) {
		switch said.Code {
		case transport.CodeInvalid, transport.CodeTooLarge, transport.CodeKeyReused, transport.CodeUnknownCommand:
			return exitUsage
		case transport.CodeUnauthorized, transport.CodeCredentialsExpired, transport.CodeRevoked:
			return exitCredentials
		case transport.CodeForbidden:
			return exitForbidden
		}
	}
	return exitUnreachable
}
