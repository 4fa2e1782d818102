//go:build unix

package programs_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/lockfile"
	"github.com/miglink/miglink/internal/programs"
)

// patience is how long the machine may take for what it does at once.
const patience = 60 * time.Second

// never is a grace period that no test lasts.
const never = time.Hour

func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	syscall.ForkLock.RLock() // a process that is forked meanwhile would have the file open, and one that is written does not start
	defer syscall.ForkLock.RUnlock()
	require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	return name
}

// pidIn waits for a process ID that a script has written to a file.
func pidIn(t *testing.T, name string) int {
	t.Helper()
	pid := 0
	require.Eventually(t, func() bool {
		b, _ := os.ReadFile(name)
		text, whole := strings.CutSuffix(string(b), "\n")
		pid, _ = strconv.Atoi(text)
		return whole && pid > 0
	}, patience, time.Millisecond, name)
	return pid
}

// runs says whether a process is there, and not a zombie.
func runs(t *testing.T, pid int) bool {
	t.Helper()
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	out, _ := exec.CommandContext(t.Context(), "ps", "-o", "stat=", "-p", strconv.Itoa(pid)).Output()
	return len(out) > 0 && out[0] != 'Z'
}

// tree is a program that starts others, which start others: the whole ignores SIGTERM if it is stubborn.
func tree(t *testing.T, stubborn bool, then string) (path string, pids func() []int) {
	t.Helper()
	dir := t.TempDir()
	ignore := ""
	if stubborn {
		ignore = "trap '' TERM\n"
	}
	wait := "while :; do sleep 0.05; done"
	path = script(t, ignore+fmt.Sprintf(`
(echo $(exec sh -c 'echo $PPID') > %[1]s/a; (echo $(exec sh -c 'echo $PPID') > %[1]s/b; %[2]s) & %[2]s) &
until [ -s %[1]s/a ] && [ -s %[1]s/b ]; do sleep 0.01; done
echo $$ > %[1]s/c
echo ready
%[3]s`, dir, wait, then))
	return path, func() []int {
		var pids []int
		for _, name := range []string{"a", "b", "c"} {
			pids = append(pids, pidIn(t, filepath.Join(dir, name)))
		}
		return pids
	}
}

var errCanceled = errors.New("not wanted any more")

// What is cancelled has ended when Run returns: the program, and what it has started, also what ignores that it is asked.
func TestCancelEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	for name, stubborn := range map[string]bool{"asked": false, "killed": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path, pids := tree(t, stubborn, "while :; do sleep 0.05; done")
			ctx, cancel := context.WithCancelCause(t.Context())
			go func() {
				pids()
				cancel(errCanceled)
			}()
			grace := never
			if stubborn {
				grace = 50 * time.Millisecond
			}
			result, err := programs.Program{Path: path, Grace: grace}.Run(ctx)
			require.Equal(t, errCanceled, err)
			require.Equal(t, "ready", result.Output)
			require.False(t, result.Left)
			for _, pid := range pids() {
				require.False(t, runs(t, pid), "process %d", pid)
			}
		})
	}
}

// A program that has not succeeded leaves nothing.
func TestFailureEndsTheWholeGroup(t *testing.T) {
	t.Parallel()
	path, pids := tree(t, false, "exit 3")
	result, err := programs.Program{Path: path, Grace: never}.Run(t.Context())
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 3, exit.ExitCode())
	require.Equal(t, "ready", result.Output)
	require.False(t, result.Left)
	for _, pid := range pids() {
		require.False(t, runs(t, pid), "process %d", pid)
	}
}

// Exit status 0 is success at once, with the output so far, although what was left behind has the pipes; and that goes on,
// and can print.
func TestServiceIsLeft(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	stop := filepath.Join(dir, "stop")
	path := script(t, fmt.Sprintf(`
(until [ -e %[1]s/stop ]; do echo noise || exit 1; done; echo done > %[1]s/result) &
echo $! > %[1]s/pid
echo started`, dir))
	t.Cleanup(func() { _ = os.WriteFile(stop, nil, 0o600) })
	result, err := programs.Program{Path: path, Grace: never, Input: bytes.Repeat([]byte("x"), 1<<20)}.Run(t.Context())
	require.NoError(t, err)
	require.True(t, result.Left)
	pid := pidIn(t, filepath.Join(dir, "pid"))
	require.True(t, runs(t, pid))
	require.NoError(t, os.WriteFile(stop, nil, 0o600))
	require.Eventually(t, func() bool { _, err := os.Stat(filepath.Join(dir, "result")); return err == nil }, patience, time.Millisecond, "it has died of its output")
}

// All that the program itself has printed is in the output, though another process keeps the pipe open.
func TestOutputIsWhole(t *testing.T) {
	t.Parallel()
	path := script(t, `sleep 3600 & seq 1 300; echo the end`)
	result, err := programs.Program{Path: path, Grace: never}.Run(t.Context())
	require.NoError(t, err)
	require.True(t, result.Left)
	require.True(t, strings.HasSuffix(result.Output, "\n299\n300\nthe end"), result.Output)
	require.True(t, strings.HasPrefix(result.Output, "1\n2\n"), result.Output)
}

func TestOutput(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ print, want string }{
		"both":      {"echo out; echo err >&2", "out\nerr"},
		"all":       {"head -c 2048 /dev/zero | tr '\\0' x", strings.Repeat("x", 2048)},
		"more":      {"head -c 2050 /dev/zero | tr '\\0' x", "[the first 2 bytes are left out]\n" + strings.Repeat("x", 2048)},
		"not UTF-8": {`printf 'caf\351 \377\376 \342\202\254'`, "caf\ufffd \ufffd €"},
		"NUL":       {`printf 'a\000b'`, "a\ufffdb"},
		"cut in a character": {
			"i=0; while [ $i -lt 1000 ]; do printf '\\342\\202\\254'; i=$((i+1)); done",
			"[the first 954 bytes are left out]\n" + strings.Repeat("€", 682),
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			result, err := programs.Program{Path: script(t, c.print), Grace: never}.Run(t.Context())
			require.NoError(t, err)
			require.Equal(t, c.want, result.Output)
		})
	}
}

// Much is printed, and none of it is text: little is kept, and that can be sent.
func TestRandomOutput(t *testing.T) {
	t.Parallel()
	size := 100 << 20
	if os.Getenv("MIGLINK_SOAK") != "" {
		size = 1 << 30
	}
	result, err := programs.Program{Path: script(t, fmt.Sprintf("head -c %d /dev/zero; head -c 1000000 /dev/urandom; echo the end", size)), Grace: never}.Run(t.Context())
	require.NoError(t, err)
	require.True(t, utf8.ValidString(result.Output))
	require.NotContains(t, result.Output, "\x00")
	require.Less(t, len(result.Output), 8<<10)
	require.Regexp(t, fmt.Sprintf(`^\[the first %d\d{6} bytes are left out\]`, (size+1000008-2048)/1000000), result.Output)
	require.True(t, strings.HasSuffix(result.Output, "the end"), "%q", result.Output)
}

func TestNotStarted(t *testing.T) {
	t.Parallel()
	_, err := programs.Program{Path: "/does/not/exist"}.Run(t.Context())
	require.ErrorIs(t, err, os.ErrNotExist)
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errCanceled)
	ran := filepath.Join(t.TempDir(), "ran")
	_, err = programs.Program{Path: script(t, "touch "+ran)}.Run(ctx)
	require.Equal(t, errCanceled, err)
	require.NoFileExists(t, ran)

	dir := t.TempDir()
	records, err := programs.OpenRecords(filepath.Join(dir, "programs"))
	require.NoError(t, err)
	require.NoError(t, records.Close())
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "programs"))) // no way to write
	_, err = programs.Program{Path: script(t, "touch "+ran), Records: records}.Run(t.Context())
	var not *programs.NotStartedError
	require.ErrorAs(t, err, &not)
	require.NoFileExists(t, ran)
}

// asAgent has the test binary run a program for a command, as an agent that is killed does: of the variable's value, a
// directory of records and a program.
const asAgent = "TEST_AS_AGENT"

func TestMain(m *testing.M) {
	if dir, path, is := strings.Cut(os.Getenv(asAgent), ":"); is {
		records, err := programs.OpenRecords(dir)
		if err == nil {
			_, err = programs.Program{Path: path, Env: append(os.Environ(), programs.CommandVariable+"=c1", programs.VMVariable+"="+dir), Grace: never, Command: "c1", VM: dir, Records: records}.Run(context.Background())
		}
		fmt.Println(err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// leave has an agent run a program until ready returns, and kills the agent.
func leave(t *testing.T, dir, path string, ready func()) {
	t.Helper()
	agent := exec.CommandContext(t.Context(), os.Args[0])
	agent.Env = append(os.Environ(), asAgent+"="+dir+":"+path)
	require.NoError(t, agent.Start())
	ready()
	require.NoError(t, agent.Process.Kill())
	_ = agent.Wait()
}

func open(t *testing.T, dir string) *programs.Records {
	t.Helper()
	records, err := programs.OpenRecords(dir)
	require.NoError(t, err)
	t.Cleanup(func() { records.Close() })
	return records
}

// What a killed agent has left is ended by the next, though it ignores that it is asked, and though the program itself is gone.
func TestOrphanIsEnded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		stubborn bool
		first    func(dir string, pids []int) // is done once the agent is killed
	}{
		"asked":  {false, func(string, []int) {}},
		"killed": {true, func(string, []int) {}},
		"it was not recorded yet": {true, func(dir string, _ []int) {
			names, err := filepath.Glob(filepath.Join(dir, "*.json"))
			require.NoError(t, err)
			require.Len(t, names, 1)
			require.NoError(t, os.WriteFile(names[0], fmt.Appendf(nil, `{"command_id":"c1","vm_id":%q}`, dir), 0o600))
		}},
		"its leader is gone": {true, func(_ string, pids []int) {
			require.NoError(t, syscall.Kill(pids[2], syscall.SIGKILL))
			require.Eventually(t, func() bool { return syscall.Kill(pids[2], 0) != nil }, patience, time.Millisecond, "nobody has waited for it")
			require.True(t, runs(t, pids[0]))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "programs")
			path, pids := tree(t, c.stubborn, "while :; do sleep 0.05; done")
			leave(t, dir, path, func() { pids() })
			c.first(dir, pids())
			if c.stubborn {
				require.True(t, runs(t, pids()[0]))
			}
			grace := never
			if c.stubborn {
				grace = 50 * time.Millisecond
			}
			require.NoError(t, open(t, dir).EndLeft(t.Context(), grace, slog.New(slog.DiscardHandler)))
			for _, pid := range pids() {
				require.False(t, runs(t, pid), "process %d", pid)
			}
			left, err := filepath.Glob(filepath.Join(dir, "*.json"))
			require.NoError(t, err)
			require.Empty(t, left)
		})
	}
}

// A process that has the ID of one that is gone is left alone, whatever else the record says.
func TestReusedID(t *testing.T) {
	t.Parallel()
	other := exec.CommandContext(t.Context(), "sleep", "3600")
	other.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, other.Start())
	defer func() { _ = other.Process.Kill(); _ = other.Wait() }()
	dir := filepath.Join(t.TempDir(), "programs")
	records := open(t, dir)
	var log bytes.Buffer
	for i, text := range []string{
		`{"command_id":"c1","process_group":%d,"start":"12345 another boot"}`,
		`{"command_id":"c1","process_group":%d,"start":""}`,
		`{"command_id":"c1","process_group":-%d,"start":""}`,
		"", strings.Repeat(" ", 1024), `{"command_id":"c1","process_group":1,"start":""}`, `{"command_id":"c1","process_group":0}`,
	} {
		if strings.Contains(text, "%d") {
			text = fmt.Sprintf(text, other.Process.Pid)
		}
		name := filepath.Join(dir, strconv.Itoa(i)+".json")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		require.NoError(t, records.EndLeft(t.Context(), 0, slog.New(slog.NewTextHandler(&log, nil))))
		require.NoFileExists(t, name)
	}
	require.True(t, runs(t, other.Process.Pid))
	require.Equal(t, 2, strings.Count(log.String(), "it is left alone"), log.String())
}

// A group whose only process is a zombie has ended, though its parent never looks.
func TestZombie(t *testing.T) {
	t.Parallel()
	child := exec.CommandContext(t.Context(), "true")
	child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	require.NoError(t, child.Start())
	defer func() { _ = child.Wait() }()
	require.Eventually(t, func() bool { return !runs(t, child.Process.Pid) }, patience, time.Millisecond)
	dir := filepath.Join(t.TempDir(), "programs")
	records := open(t, dir)
	name := filepath.Join(dir, "1.json")
	require.NoError(t, os.WriteFile(name, fmt.Appendf(nil, `{"command_id":"c1","process_group":%d,"start":"x"}`, child.Process.Pid), 0o600))
	var log bytes.Buffer
	require.NoError(t, records.EndLeft(t.Context(), never, slog.New(slog.NewTextHandler(&log, nil))))
	require.Empty(t, log.String())
}

// A second agent does not take what the first runs for left.
func TestRecordsOfOneAgent(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "programs")
	records := open(t, dir)
	_, err := programs.OpenRecords(dir)
	require.ErrorIs(t, err, lockfile.ErrInUse)

	running := filepath.Join(t.TempDir(), "running")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error, 1)
	go func() {
		_, err := programs.Program{Path: script(t, "echo $$ > "+running+"; sleep 3600"), Grace: never, Command: "c1", Records: records}.Run(ctx)
		ended <- err
	}()
	pidIn(t, running)
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	cancel(errCanceled)
	require.Equal(t, errCanceled, <-ended)
	require.NoFileExists(t, files[0])
}
