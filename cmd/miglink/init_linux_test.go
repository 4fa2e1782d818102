package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
)

// zombies are the processes that have ended and that nobody has waited for, of a PID namespace: that of a process.
func zombies(t *testing.T, pid int) (list []string, all int) {
	t.Helper()
	space := func(pid string) string {
		s, _ := os.Readlink(filepath.Join("/proc", pid, "ns/pid"))
		return s
	}
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	require.NoError(t, err)
	ours := space(fmt.Sprint(pid))
	require.NotEmpty(t, ours)
	for _, name := range entries {
		b, _ := os.ReadFile(name)
		if space(filepath.Base(filepath.Dir(name))) != ours {
			continue
		}
		all++
		if _, after, _ := strings.Cut(string(b), ") "); strings.HasPrefix(after, "Z") {
			list = append(list, string(b))
		}
	}
	return list, all
}

// As a container's first process an agent waits for what its programs leave, and for nothing that it waits for anyway.
func TestFirstProcessOfAContainer(t *testing.T) {
	t.Parallel()
	out, err := exec.CommandContext(t.Context(), "unshare", "--pid", "--fork", "--mount-proc", "true").CombinedOutput()
	needs.Machine(t, err, "no PID namespace can be made here, which takes unshare (util-linux) and root: "+string(out))
	_, url := startController(t)
	agent := program(t)
	agent.Path, _ = exec.LookPath("unshare")
	agent.Args = []string{
		"unshare", "--pid", "--fork", "--kill-child", "--mount-proc", os.Args[0], "agent", "--vm", "vm-1", "--controller", url,
		"--journal", t.TempDir(), "--exec-grace", "20ms",
		"--exec", "orphans=" + script(t, "for i in 1 2 3 4 5; do (true & setsid true & (sleep 0.01 &)) & done; echo $PPID"),
		"--exec", "bad=" + script(t, stubborn+"exit 3"),
	}
	log := newPrinted()
	agent.Stderr = log
	require.NoError(t, agent.Start())
	t.Cleanup(func() { _ = agent.Process.Kill(); _ = agent.Wait() })
	log.await(t, "linked")
	for i := range 20 {
		id := fmt.Sprint("c", i)
		ok(t, "send", "vm-1", "orphans", "--id", id, "--controller", url, "--wait", "60s")
		require.Contains(t, ok(t, "status", id, "--controller", url), `"output":"1"`, "the agent is the first process")
	}
	o := miglink(t, "send", "vm-1", "bad", "--controller", url, "--wait", "60s")
	require.Contains(t, o.errors, "failed: exit status 3")

	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", agent.Process.Pid, agent.Process.Pid))
	require.NoError(t, err)
	first := 0
	_, err = fmt.Sscan(string(children), &first)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		list, all := zombies(t, first)
		return len(list) == 0 && all == 1
	}, patience, 10*time.Millisecond)
	require.NoError(t, syscall.Kill(first, syscall.SIGTERM))
	require.NoError(t, agent.Wait(), log)
}
