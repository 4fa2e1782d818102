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
