package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/internal/programs"
)

const (
	// stopMargin is what an agent that stops waits for its handlers beyond --exec-grace: a program that is killed has to end, too.
	stopMargin = 5 * time.Second
	// runGrace is the least that a run has to end in when it has lasted as long as it may.
	runGrace = 10 * time.Second
	// recordRetry is when a command is tried again whose program could not be recorded.
	recordRetry = 10 * time.Second
)

// executor runs a user's program for each command.
type executor struct {
	program string
	vm      string
	grace   time.Duration
	records *programs.Records
}

// programResult is what a command whose program exits with 0 comes to.
type programResult struct {
	Output      string `json:"output"`
	LeftRunning bool   `json:"left_running,omitempty"` // what it has started in the background goes on
}

func (e executor) run(ctx context.Context, job *agent.Job) (any, error) {
	c := job.Command()
	result, err := programs.Program{
		Path: e.program,
		Env: append(environment(),
			programs.CommandVariable+"="+c.ID,
			"MIGLINK_COMMAND_TYPE="+string(c.Type),
			programs.VMVariable+"="+e.vm,
			"MIGLINK_ATTEMPT="+strconv.Itoa(job.Attempt()),
		),
		Input: c.Parameters, Grace: e.grace, Command: c.ID, VM: e.vm, Records: e.records,
	}.Run(ctx)
	var notStarted *programs.NotStartedError
	switch {
	case err == nil:
		return programResult{result.Output, result.Left}, nil
	case errors.As(err, &notStarted):
		return nil, agent.RetryLater(recordRetry, err.Error())
	case result.Output != "":
		return nil, fmt.Errorf("%w: %s", err, result.Output)
	}
	return nil, err
}

// environment is what programs get of the agent's: none of the variables that set flags, which may hold passwords.
func environment() []string {
	var env []string
	for _, v := range os.Environ() {
		if !strings.HasPrefix(strings.ToUpper(v), "MIGLINK_") { // Windows ignores case
			env = append(env, v)
		}
	}
	return env
}

// programs opens the records of the programs that run, and ends what an agent that was killed has left. There are none without
// a journal.
func (c *agentCmd) programs(ctx context.Context, log *slog.Logger) (*programs.Records, error) {
	log = log.With("component", "exec")
	if c.Journal == "" {
		if len(c.Exec) > 0 {
			log.Warn("without --journal nothing finds the programs that an agent leaves when it is killed")
		}
		return nil, nil
	}
	records, err := programs.OpenRecords(filepath.Join(c.Journal, "programs"))
	if err != nil {
		return nil, fmt.Errorf("--journal: %w", stored(err))
	}
	if err := records.EndLeft(ctx, c.ExecGrace, log); err != nil {
		records.Close()
		return nil, err
	}
	return records, nil
}
