package main

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"syscall"

	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// The exit statuses. Each has one meaning, whatever the subcommand.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitTimeout     = 4
	exitCredentials = 5
	exitForbidden   = 6
	exitNotNow      = 7
	exitUnknown     = 8
	exitNotFound    = 9
	exitStorage     = 10
	exitSuperseded  = 11
	exitRevoked     = 12
	exitInternal    = 70
	exitInterrupted = 130
)

// exits is the table of them, which --help and the README show.
var exits = []struct {
	status int
	means  string
}{
	{0, "done; of a command that was waited for: succeeded, or canceled where that was asked for"},
	{exitFailed, "a command ended otherwise, or a check failed"},
	{exitUsage, "bad flags, files or input: nothing was done"},
	{exitUnreachable, "the controller or the broker cannot be reached, or does not answer; nothing was done"},
	{exitTimeout, "the time to wait was up, and the command is not known to have ended"},
	{exitCredentials, "bad, expired or revoked credentials, or none"},
	{exitForbidden, "good credentials, without the grant that this needs"},
	{exitNotNow, "the controller cannot do it now: a queue is full, too many requests, it stops or fails; try again later"},
	{exitUnknown, "not known whether it was done: the answer was lost; ask, or repeat it with the same ID"},
	{exitNotFound, "there is no such command or VM"},
	{exitStorage, "a journal, a ledger, another file or an address cannot be used: damaged, full, or in use"},
	{exitSuperseded, "another instance of this agent took its place, as where the VM was cloned: do not start it again beside that"},
	{exitRevoked, "the controller told this agent to stop for good: its VM was forgotten, or its credentials are revoked; do not start it again"},
	{exitInternal, "a fault of this program"},
	{exitInterrupted, "interrupted"},
}

// restartPrevent is for the unit of an agent or a controller: to start it again after these is of no use, or does harm.
const restartPrevent = "RestartPreventExitStatus=2 11 12"

const helpWidth = 48 // of the text of the table, so that it fits 60 columns

// exitTable is for --help.
func exitTable() string {
	var b strings.Builder
	for _, e := range exits {
		fmt.Fprintf(&b, "  %3d  %s\n", e.status, strings.ReplaceAll(text.WrapSoft(e.means, helpWidth), "\n", "\n       "))
	}
	fmt.Fprintf(&b, "\nUnder systemd: Restart=always with %s.", restartPrevent)
	return b.String()
}

// exitError is an error with an exit status of its own.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func failed(format string, args ...any) error {
	return &exitError{exitFailed, fmt.Errorf(format, args...)}
}

func usage(format string, args ...any) error {
	return &exitError{exitUsage, fmt.Errorf(format, args...)}
}

// stored is the error of a file or directory that a process keeps things in. That there can be none of that name is a
// mistake of who has named it.
func stored(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) ||
		errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EROFS) {
		return &exitError{exitUsage, err}
	}
	return &exitError{exitStorage, err}
}

// codes are the statuses of what a controller says. Others are refusals of what was asked for.
var codes = map[transport.Code]int{
	transport.CodeUnavailable: exitNotNow, transport.CodeMoved: exitNotNow, transport.CodeQueueFull: exitNotNow,
	transport.CodeRateLimited: exitNotNow, transport.CodeInternal: exitNotNow,
	transport.CodeUnauthorized: exitCredentials, transport.CodeCredentialsExpired: exitCredentials, transport.CodeRevoked: exitCredentials,
	transport.CodeForbidden: exitForbidden, transport.CodeUnknownCommand: exitNotFound, transport.CodeSuperseded: exitSuperseded,
	transport.CodeProtocol: exitUnreachable, // what is there is no controller
}

func exitStatus(err error) int {
	var own *exitError
	if errors.As(err, &own) {
		return own.status
	}
	var said *transport.Error
	switch {
	case errors.Is(err, admin.ErrUnreachable), errors.Is(err, admin.ErrUnanswered) && !errors.As(err, &said):
		return exitUnreachable
	case errors.As(err, &said):
		if status, ok := codes[said.Code]; ok {
			return status
		}
		return exitUsage
	case errors.As(err, new(*transport.ForeignError)):
		return exitUnreachable
	case errors.As(err, new(*fs.PathError)):
		return exitStorage
	}
	return exitInternal
}
