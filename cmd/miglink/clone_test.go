package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An agent that another of the same VM has taken over from ends with a status of its own, and its log names both: a
// supervisor that started it again beside the other would have it take over in turn.
func TestAgentThatWasTakenOver(t *testing.T) {
	_, url := startController(t)
	first := start(t, "agent", "--vm", "vm-1", "--controller", url, "--transport", "ws")
	first.log.await(t, "linked")
	second := start(t, "agent", "--vm", "vm-1", "--controller", url, "--transport", "ws")
	select {
	case <-first.ended:
	case <-time.After(patience):
		require.Fail(t, "the first agent goes on", first.log.String())
	}
	require.Equal(t, exitSuperseded, first.cmd.ProcessState.ExitCode(), first.log.String())
	require.Regexp(t, `instance [0-9a-f-]{36} of vm-1 has taken over from [0-9a-f-]{36}`, first.log.String())
	require.Zero(t, second.interrupt(), "the other goes on until it is stopped")
}
