package main

import (
	"os"
	"os/signal"
	"syscall"

	"github.com/miglink/miglink/internal/programs"
)

// outlive has an agent or a controller live on where the defaults would end it: at SIGHUP, of a terminal that has gone or a
// supervisor that wants something read again, and at SIGPIPE, of who read its log. What it logs is then lost, until it is
// started anew. As the first process of a container it also waits for those that it inherits.
func outlive() {
	signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP, syscall.SIGPIPE) // that nobody reads it is no error
	go programs.Reap()
}

// What signals do, for --help and the README.
const (
	controllerSignals = "SIGTERM and SIGINT (Ctrl-C) stop the controller: its links end over --drain, within 10s more it exits " +
		"with status 0, and a second one ends it at once. SIGHUP opens the file of --audit anew, and ends nothing."
	agentSignals = "SIGTERM and SIGINT (Ctrl-C) stop the agent: it takes no more commands, ends programs as --exec-grace says, " +
		"acknowledges what they have done and exits with status 0, and a second one ends it at once. SIGHUP does nothing."
)

// Help is what --help says beside the flags.
func (*controllerCmd) Help() string { return controllerSignals }

// Help is what --help says beside the flags.
func (*agentCmd) Help() string { return agentSignals }
