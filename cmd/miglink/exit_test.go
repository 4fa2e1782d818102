package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The table of exit statuses is in --help and in the README, as it is.
func TestExitTable(t *testing.T) {
	t.Parallel()
	readme, err := os.ReadFile("../../README.md")
	require.NoError(t, err)
	help := strings.Join(strings.Fields(ok(t, "--help")), " ")
	for _, e := range exits {
		require.Contains(t, string(readme), fmt.Sprintf("| %d | %s |\n", e.status, e.means))
		require.Contains(t, help, fmt.Sprintf("%d %s", e.status, e.means))
	}
	require.Contains(t, help, restartPrevent+".")
	require.Contains(t, string(readme), "`"+restartPrevent+"`")
}

// A supervisor tells by the status whether to start an agent or a controller again.
func TestEndsOfDaemons(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, []byte("x"), 0o600))
	for _, journal := range []string{file, file + "/journal"} {
		o := miglink(t, "agent", "--vm", "x", "--journal", journal)
		require.Equal(t, exitUsage, o.status, "no directory can be there: %s", o.errors)
		require.Contains(t, o.errors, file)
	}

	data := t.TempDir()
	_, url := startController(t, "--data", data)
	o := miglink(t, "controller", "--data", data, "--listen", "127.0.0.1:0")
	require.Equal(t, exitStorage, o.status, "another has the ledger: %s", o.errors)

	o = miglink(t, "controller", "--data", t.TempDir(), "--listen", strings.TrimPrefix(url, "http://"))
	require.Equal(t, exitStorage, o.status, "another listens there, who may end: %s", o.errors)
	require.Contains(t, o.errors, "--listen")

	journal := t.TempDir()
	start(t, "agent", "--vm", "vm-2", "--controller", url, "--journal", journal).log.await(t, "linked")
	for _, vm := range []string{"vm-2", "vm-3"} {
		o = miglink(t, "agent", "--vm", vm, "--controller", url, "--journal", journal)
		require.Equal(t, exitStorage, o.status, "another has the journal: %s", o.errors)
		require.Contains(t, o.errors, "--journal: "+journal)
		require.Contains(t, o.errors, "in use")
	}

	first := start(t, "agent", "--vm", "vm-1", "--controller", url)
	first.log.await(t, "linked")
	start(t, "agent", "--vm", "vm-1", "--controller", url)
	<-first.ended
	require.Equal(t, exitSuperseded, first.cmd.ProcessState.ExitCode(), first.log)
	require.Contains(t, first.log.String(), "superseded")

	forgotten := start(t, "agent", "--vm", "vm-4", "--controller", url)
	forgotten.log.await(t, "linked")
	ok(t, "forget", "vm-4", "--force", "--controller", url)
	<-forgotten.ended
	require.Equal(t, exitRevoked, forgotten.cmd.ProcessState.ExitCode(), forgotten.log)
	require.Contains(t, forgotten.log.String(), "vm-4 was forgotten by an operator")
	for _, p := range []*process{first, forgotten} {
		require.Contains(t, strings.FieldsFunc(restartPrevent, func(r rune) bool { return r == ' ' || r == '=' }),
			strconv.Itoa(p.cmd.ProcessState.ExitCode()), "a supervisor would start it again")
	}
}

// What is listened on is what was said, and that is what is printed.
func TestListensOnWhatWasSaid(t *testing.T) {
	t.Parallel()
	p := start(t, "controller", "--listen", "0.0.0.0:0", "--data", t.TempDir(), "--insecure")
	require.Contains(t, p.first, "http://0.0.0.0:")
}
