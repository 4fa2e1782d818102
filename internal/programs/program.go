// Package programs runs a user's program for a command, and knows when all that it has started has ended.
//
// A program runs in a process group of its own (a job object on Windows). What it starts belongs to the group, unless it
// leaves it (setsid), as a daemon does. A program that exits with 0 has succeeded, and what it has left in the
// background goes on. In every other case the whole group has ended before Run returns: it is asked to (SIGTERM), and
// killed after a grace period.
//
// An agent that is killed cannot do that. So each group has a record on disk as long as it runs, and the next agent ends
// the groups of the records that it finds, before it does anything else. On Linux the kernel also sends SIGTERM to
// the program itself, at once. On Windows the kernel ends the whole job with the agent, so that nothing is left.
//
// On Unix systems other than Linux and macOS nothing tells a process from a later one of the same ID, so what a
// killed agent has left is not ended. On macOS that is so where the program itself has ended and only processes that it has
// started are left.
package programs

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"time"
)

// Program is what to run, once.
type Program struct {
	Path    string
	Env     []string      // has CommandVariable and VMVariable
	Input   []byte        // comes on standard input
	Grace   time.Duration // how long the group has to end, before it is killed
	Command string        // ID of the command, for the record
	VM      string        // for the record
	Records *Records      // nil: none; then no later agent finds the group
}

// Result is what a program has left.
type Result struct {
	Output string // the end of what it has printed, on both standard output and standard error, see package
	Left   bool   // processes of the group go on
}

// Run runs the program to its end. The error is nil if it has exited with 0, the cause of ctx if that ended first, and
// else says how the program ended, or why it did not start: a *NotStartedError may pass. There is a Result also with an error.
//
// Run does not return while a process of a group that is to end is there. One that cannot be killed, as one of another
// user, is waited for.
func (p Program) Run(ctx context.Context) (Result, error) {
	if ctx.Err() != nil {
		return Result{}, context.Cause(ctx)
	}
	place, err := p.Records.reserve(p.Command, p.VM)
	if err != nil {
		return Result{}, &NotStartedError{err}
	}
	defer place.remove()
	return p.run(ctx, place)
}

// NotStartedError is that a program was not started, since there is no room on the disk for its record, or no way to write it.
type NotStartedError struct{ err error }

func (e *NotStartedError) Error() string {
	return "the program was not started: its record: " + e.err.Error()
}
func (e *NotStartedError) Unwrap() error { return e.err }

func (p Program) run(ctx context.Context, place *place) (Result, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	cmd := exec.Command(p.Path) //nolint:noctx // ctx ends the group, not only this process
	cmd.Env = p.Env
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return Result{}, err
	}
	r, w, err := os.Pipe()
	if err != nil {
		stdin.Close()
		return Result{}, err
	}
	cmd.Stdout, cmd.Stderr = w, w

	// On Linux a program is told of the end of the thread that has started it, so that has to stay.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	g, err := start(cmd)
	w.Close()
	if err != nil {
		r.Close()
		return Result{}, err
	}
	defer g.close()
	unrecorded := place.fill(g.id)
	out := collect(r)
	go func() {
		_, _ = stdin.Write(p.Input) // it need not read what it is given
		stdin.Close()
	}()
	exited := make(chan struct{})
	var how error // of the exit, once that has come
	go func() {
		defer close(exited)
		how = g.wait(cmd)
	}()

	if unrecorded != nil {
		cancel(fmt.Errorf("the program was ended, since a later agent would not find it: %w", unrecorded))
	}
	stopped := false
	select {
	case <-exited:
	case <-ctx.Done():
		select {
		case <-exited: // both were to be had
		default:
			stopped = true
		}
	}
	if stopped || how != nil {
		_ = g.end(context.WithoutCancel(ctx), p.Grace) // has no error without an end of ctx
	}
	<-exited
	if stopped {
		how = context.Cause(ctx)
	}
	result := Result{Output: out.end(), Left: g.alive()}
	if result.Left {
		g.leave()
	}
	return result, how
}
