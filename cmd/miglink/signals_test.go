//go:build unix

package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What signals do is in the help of who gets them, and in the README.
func TestSignalsAreTold(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	words := func(s string) string { return strings.Join(strings.Fields(strings.ReplaceAll(s, "`", "")), " ") }
	for command, says := range map[string]string{"controller": controllerSignals, "agent": agentSignals} {
		require.Contains(t, words(ok(t, command, "--help")), words(says))
		require.True(t, strings.Contains(words(string(readme)), words(says)), "the README does not say: %s", says)
	}
}

// The first signal lets a controller take its time to stop, a second one does not.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	ctl, url := startController(t, "--data", t.TempDir(), "--drain", "24h")
	start(t, "agent", "--vm", "vm-1", "--controller", url).log.await(t, "linked")
	require.NoError(t, ctl.cmd.Process.Signal(syscall.SIGTERM))
	ctl.log.await(t, "stopping")
	limit := time.After(patience)
	for {
		_ = ctl.cmd.Process.Signal(syscall.SIGTERM) // the first of these may come before the process has turned to it
		select {
		case <-ctl.ended:
			require.Equal(t, syscall.SIGTERM, ctl.cmd.ProcessState.Sys().(syscall.WaitStatus).Signal())
			return
		case <-time.After(10 * time.Millisecond):
		case <-limit:
			require.Fail(t, "it goes on", ctl.log.String())
		}
	}
}

// To be stopped is no failure for a controller that waits for the ledger.
func TestStandbyStops(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	startController(t, "--data", data)
	standby := start(t, "controller", "--data", data, "--listen", "127.0.0.1:0", "--standby")
	require.Zero(t, standby.interrupt(), standby.log)
}
