//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
)

// lane is a script's text that tells whether what an earlier program has started runs beside it: all that it starts holds a lock.
// What it ends with says so, too.
type lane struct{ lock, beside string }

func newLane(t *testing.T) lane {
	t.Helper()
	needs.Program(t, "flock")
	dir := t.TempDir()
	return lane{filepath.Join(dir, "lock"), filepath.Join(dir, "beside")}
}

func (l lane) script(t *testing.T, text string) string {
	t.Helper()
	return script(t, fmt.Sprintf("exec 9>>%s\nflock -n 9 || echo $MIGLINK_COMMAND_ID >> %s\n%s", l.lock, l.beside, text))
}

// empty says whether nothing of what was started runs. It has the lock for a moment, so nothing may be started meanwhile.
func (l lane) empty(t *testing.T) bool {
	t.Helper()
	return exec.CommandContext(t.Context(), "flock", "-n", l.lock, "true").Run() == nil
}

// stubborn is a script's text that starts a tree of processes that ignore SIGTERM and hold the pipes.
const stubborn = "trap '' TERM; (sleep 3600 & sleep 3600) & sleep 3600 & "

func stageOf(t *testing.T, url, id string) admin.Status {
	t.Helper()
	var s admin.Status
	o := miglink(t, "status", id, "--controller", url, "--output", "json")
	require.Zero(t, o.status, o.errors)
	require.NoError(t, json.Unmarshal([]byte(o.out), &s), o.out)
	return s
}

// An agent that is stopped ends its programs with all that they have started; one that is killed leaves that to the next, which
// does it before anything else. What had begun is told as its type says: a shutdown is complete with the agent's return.
func TestProgramsEndWithTheAgent(t *testing.T) {
	t.Parallel()
	for name, stop := range map[string]func(*process){
		"stopped": func(p *process) { require.Zero(p.t, p.interrupt(), p.log) },
		"killed":  (*process).kill,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, url := startController(t)
			l := newLane(t)
			journal, ready := t.TempDir(), filepath.Join(t.TempDir(), "ready")
			slow := l.script(t, stubborn+"touch "+ready+"$MIGLINK_COMMAND_TYPE; while :; do sleep 1; done")
			begin := func() *process {
				return start(t, "agent", "--vm", "vm-1", "--controller", url, "--journal", journal, "--exec-grace", "50ms",
					"--exec", "shutdown="+slow, "--exec", "slow="+slow, "--exec", "drain="+l.script(t, "echo drained"))
			}
			for _, c := range []struct {
				kind string
				want ack.Stage
			}{{"shutdown", ack.Succeeded}, {"slow", ack.Interrupted}} {
				p := begin()
				ok(t, "send", "vm-1", c.kind, "--id", c.kind, "--controller", url)
				ok(t, "send", "vm-1", "drain", "--id", "after-"+c.kind, "--controller", url)
				require.Eventually(t, func() bool { _, err := os.Stat(ready + c.kind); return err == nil }, patience, time.Millisecond)
				stop(p)
				require.Equal(t, name == "stopped", l.empty(t))
				p = begin()
				ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "60s")
				require.Equal(t, c.want, stageOf(t, url, c.kind).Stage)
				require.Equal(t, ack.Succeeded, stageOf(t, url, "after-"+c.kind).Stage)
				require.True(t, l.empty(t), p.log)
				p.kill()
			}
			require.NoFileExists(t, l.beside)
		})
	}
}

// What an agent, in any language, reports of runs that it has abandoned is in the fleet; and until when a run may last in the status.
func TestAbandonedRunsAreShown(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	post := func(path, body string) {
		resp, err := http.Post(url+"/api/v1/vms/vm-1/"+path+"?instance=a", "application/json", strings.NewReader(body))
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.NoError(t, resp.Body.Close())
	}
	resp, err := http.Get(url + "/api/v1/vms/vm-1/commands?instance=a")
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	post("events", `{"type":"runs_abandoned","timestamp":"2026-11-25T08:57:31Z","metadata":{"count":3}}`)
	require.Contains(t, ok(t, "fleet", "--controller", url), "abandoned runs: 3")
	require.Contains(t, ok(t, "fleet", "--controller", url, "--output", "json"), `"abandoned_runs": 3`)
	ok(t, "send", "vm-1", "drain", "--id", "c", "--run-timeout", "1h", "--controller", url)
	post("commands/ack", `{"command_id":"c","status":"started"}`)
	require.Contains(t, ok(t, "status", "c", "--controller", url), "its run is to end by "+stageOf(t, url, "c").RunEnds.Format(time.RFC3339))
	require.Equal(t, command.Duration(time.Hour), stageOf(t, url, "c").RunTimeout)
}

// Numbers that no float64 holds reach programs, and come back, as they are.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	const doc = `{"n":[9007199254740993,{"a":18446744073709551615}],"big":123456789012345678901234567890,"f":1.50,"e":1E5,"small":1e-400}`
	_, url := startController(t)
	start(t, "agent", "--vm", "vm-1", "--controller", url, "--exec", "echo="+script(t, "cat"))
	file, lines := filepath.Join(t.TempDir(), "parameters"), filepath.Join(t.TempDir(), "lines")
	require.NoError(t, os.WriteFile(file, []byte(doc), 0o600))
	require.NoError(t, os.WriteFile(lines, []byte(`{"vm_id":"vm-1","type":"echo","id":"line","parameters":`+doc+`}`), 0o600))
	ok(t, "send", "vm-1", "echo", "--id", "given", "--params", doc, "--controller", url, "--wait", "60s")
	ok(t, "send", "vm-1", "echo", "--id", "file", "--params", "@"+file, "--controller", url, "--wait", "60s")
	ok(t, "send", "--file", lines, "--controller", url, "--wait", "60s")
	for _, id := range []string{"given", "file", "line"} {
		var result struct{ Output string }
		require.NoError(t, json.Unmarshal(stageOf(t, url, id).Result, &result))
		require.Equal(t, doc, result.Output)
	}
}

// A program that hangs is ended when its time is over, with all that it has started, be that as its type or as its command
// has it, and the next one runs. What it has printed is told.
func TestProgramsThatHang(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	l := newLane(t)
	hangs := l.script(t, stubborn+"echo so far; while :; do sleep 1; done")
	start(t, "agent", "--vm", "vm-1", "--controller", url, "--exec-grace", "20ms", "--run-timeout", "short=1s",
		"--exec", "short="+hangs, "--exec", "long="+hangs, "--exec", "drain="+l.script(t, "echo drained"))
	file := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(file, []byte(`{"vm_id":"vm-1","type":"long","id":"line","run_timeout":"1s"}`), 0o600))
	ok(t, "send", "vm-1", "short", "--id", "by-type", "--run-timeout", "1h", "--controller", url)
	ok(t, "send", "vm-1", "long", "--id", "by-command", "--run-timeout", "1s", "--controller", url)
	ok(t, "send", "--file", file, "--controller", url)
	ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "60s")
	for _, id := range []string{"by-type", "by-command", "line"} {
		s := stageOf(t, url, id)
		require.Equal(t, ack.Failed, s.Stage)
		require.Equal(t, ack.CodeRunTimeout, s.Code)
		require.Equal(t, ack.CodeRunTimeout, s.History[len(s.History)-1].Code)
		require.Contains(t, s.Reason, "the run was to end after 1s")
		require.Contains(t, s.Reason, "so far")
		require.False(t, s.Verdict)
	}
	require.Contains(t, miglink(t, "status", "line", "--controller", url).out, "run_timeout: the run was to end after 1s")
	require.True(t, l.empty(t))
	require.NoFileExists(t, l.beside)
}

// The agent is stopped and killed at any moment, and its programs are trees that ignore signals: none of them runs beside one of
// before, and in the end none is left.
func TestProgramsOfAnAgentThatDies(t *testing.T) {
	t.Parallel()
	sends := 30
	if os.Getenv("MIGLINK_SOAK") != "" {
		sends = 300
	}
	rng := seeded(t)
	_, url := startController(t, "--max-attempts", "1000")
	l := newLane(t)
	journal := t.TempDir()
	begin := func() *process {
		return start(t, "agent", "--vm", "vm-1", "--controller", url, "--journal", journal, "--exec-grace", "20ms",
			"--exec", "good="+l.script(t, "cat; head -c 100000 /dev/urandom; sleep 0.0$((MIGLINK_ATTEMPT % 9))"),
			"--exec", "bad="+l.script(t, stubborn+"exit 3"),
			"--exec", "ugly="+l.script(t, stubborn+"kill -9 $$"))
	}
	p := begin()
	kinds := []string{"good", "bad", "ugly"}
	var file strings.Builder
	for i := range sends {
		fmt.Fprintf(&file, `{"vm_id":"vm-1","id":"c%03d","type":%q,"parameters":{"n":%d}}`+"\n", i, kinds[rng.IntN(len(kinds))], i)
	}
	name := filepath.Join(t.TempDir(), "commands")
	require.NoError(t, os.WriteFile(name, []byte(file.String()), 0o600))
	ok(t, "send", "--file", name, "--controller", url)
	client, err := admin.NewClient(url+"/admin/v1", transport.Config{})
	require.NoError(t, err)
	next := 0
	for next < sends {
		for range 1 + rng.IntN(5) {
			if next < sends {
				settled(t, client, fmt.Sprintf("c%03d", next))
				next++
			}
		}
		switch rng.IntN(3) {
		case 0:
			p.kill()
		case 1:
			require.Zero(t, p.interrupt(), p.log)
		default: // as a supervisor that loses patience
			require.NoError(t, p.cmd.Process.Signal(syscall.SIGTERM))
			p.kill()
		}
		p = begin()
	}
	require.True(t, l.empty(t), "what the last program has started runs on")
	require.NoFileExists(t, l.beside)
	count := map[string]int{}
	for i := range sends {
		s := settled(t, client, fmt.Sprintf("c%03d", i))
		count[fmt.Sprint(s.Type, " ", s.Stage)]++
		if s.Stage != ack.Interrupted {
			require.Equal(t, s.Type == "good", s.Stage == ack.Succeeded, "%+v", s)
		}
	}
	t.Log(count)
}
