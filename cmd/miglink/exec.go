package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"github.com/miglink/miglink/agent"
)

const (
	outputEnd = 2 << 10          // bytes of output that become part of the ack
	killGrace = 10 * time.Second // between SIGTERM and SIGKILL for a cancelled command
)

// executor runs a user's program for each command.
type executor struct {
	program string
	vm      string
}

func (e executor) run(ctx context.Context, job *agent.Job) (any, error) {
	c := job.Command()
	cmd := exec.CommandContext(ctx, e.program)
	cmd.Env = append(os.Environ(),
		"MIGLINK_COMMAND_ID="+c.ID,
		"MIGLINK_COMMAND_TYPE="+string(c.Type),
		"MIGLINK_VM="+e.vm,
		"MIGLINK_ATTEMPT="+strconv.Itoa(job.Attempt()),
	)
	cmd.Stdin = bytes.NewReader(c.Parameters)
	out := &tail{max: outputEnd}
	cmd.Stdout, cmd.Stderr = out, out
	cmd.WaitDelay = killGrace
	ownGroup(cmd)
	err := cmd.Run()
	text := strings.TrimSpace(out.String())
	var exit *exec.ExitError
	switch {
	case err == nil:
		return map[string]string{"output": text}, nil
	case ctx.Err() != nil:
		return nil, fmt.Errorf("%w: %s", context.Cause(ctx), text)
	case errors.As(err, &exit) && text != "":
		return nil, fmt.Errorf("%w: %s", exit, text)
	}
	return nil, err
}

// tail keeps the end of what is written to it.
type tail struct {
	max int
	b   []byte
}

func (t *tail) Write(p []byte) (int, error) {
	t.b = append(t.b, p...)
	if n := len(t.b) - t.max; n > 0 {
		t.b = append(t.b[:0], t.b[n:]...)
	}
	return len(p), nil
}

func (t *tail) String() string { return strings.ToValidUTF8(string(t.b), "") }
