// Command miglink runs a controller or an agent, sends commands and watches what becomes of them, and
// proves the promises of every transport.
//
// Its exit statuses are a table, in exit.go, in --help and in the README.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	goredis "github.com/redis/go-redis/v9"
)

type cli struct {
	Config  string           `help:"YAML file with flags of the command, by their names. A flag or a variable of the environment counts more." placeholder:"FILE"`
	Version kong.VersionFlag `env:"-" help:"Print the version."`

	Demo        demoCmd        `cmd:"" help:"A controller and an agent per transport, as processes of their own; every link is cut once."`
	Controller  controllerCmd  `cmd:"" help:"Run a controller."`
	Agent       agentCmd       `cmd:"" help:"Run an agent."`
	Token       tokenCmd       `cmd:"" help:"Print a token for a VM or an operator, or make the key that signs them."`
	Send        sendCmd        `cmd:"" help:"Send a command to a VM, or many from a file."`
	Status      statusCmd      `cmd:"" help:"Show a command, the commands of a VM, or the fleet."`
	Fleet       fleetCmd       `cmd:"" help:"List the VMs."`
	Cancel      cancelCmd      `cmd:"" help:"Ask for a command to be cancelled."`
	Unsettled   unsettledCmd   `cmd:"" help:"List the commands of all VMs that are not settled."`
	Settle      settleCmd      `cmd:"" help:"Say what became of a command that nobody will answer."`
	Forget      forgetCmd      `cmd:"" help:"Forget a VM that will not come back, and end what waits for it."`
	Watch       watchCmd       `cmd:"" help:"Print what happens, as it happens."`
	Conformance conformanceCmd `cmd:"" help:"Prove the promises of every transport, and print a table."`
	Bench       benchCmd       `cmd:"" help:"Measure every transport beside a bare loop of its kind, and print tables."`
	BenchChild  benchChildCmd  `cmd:"" hidden:""`
	Settings    configCmd      `cmd:"" name:"config" help:"Check a file of --config."`
	Completion  completionCmd  `cmd:"" help:"Print a script with which a shell completes commands and flags."`
	VersionCmd  versionCmd     `cmd:"" name:"version" help:"Print the version."`
}

const description = `Commands from a controller to the agent on each VM, over whichever transport the network allows.

Every flag can be set from the environment, as MIGLINK_ and its name, and in a file, see --config.

Exit status:

`

func main() { os.Exit(run(os.Args[1:])) }

func newParser(c *cli, errs io.Writer) *kong.Kong {
	return kong.Must(c,
		kong.Name("miglink"),
		kong.Description(description+exitTable()),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
		kong.Help(printHelp),
		kong.DefaultEnvars("MIGLINK"),
		kong.Writers(os.Stdout, errs),
		kong.ValueFormatter(withDefault),
		kong.Vars{"version": "miglink " + version()},
	)
}

// withDefault is the help of a flag with its default, which kong shows only in place of a placeholder.
func withDefault(v *kong.Value) string {
	help := kong.DefaultHelpValueFormatter(v)
	if !v.HasDefault || v.Default == "" || strings.Contains(v.Help, "Default: ") {
		return help
	}
	return strings.TrimSuffix(help, ".") + ". Default: " + v.Default + "."
}

func run(args []string) int {
	goredis.SetLogger(quiet{})
	parser := newParser(&cli{}, os.Stderr)
	if len(args) > 0 && args[0] == completing {
		complete(os.Stdout, parser.Model, args[1:])
		return 0
	}
	if len(args) > 0 && args[0] == "help" { // as of git, kubectl, nats
		args = append(slices.Clone(args[1:]), "--help")
	}
	command, err := parser.Parse(args)
	if err == nil {
		err = checkEmpty(command)
	}
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
	if ctx.Err() != nil && errors.Is(err, context.Canceled) && exitStatus(err) != exitInterrupted {
		fmt.Fprintln(os.Stderr, "miglink: interrupted")
		return exitInterrupted
	}
	hint := ""
	if c, ok := command.Selected().Target.Addr().Interface().(interface{ hint(err error) string }); ok {
		hint = c.hint(err)
	}
	fmt.Fprintf(os.Stderr, "miglink: %s%s\n", shownLines(strings.TrimPrefix(err.Error(), "miglink: ")), hint)
	return exitStatus(err)
}
