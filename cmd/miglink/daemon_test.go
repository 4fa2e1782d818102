//go:build unix

package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
)

// A password in a broker's URL is in no argument, and in no program's environment: of the variables of this program's own
// those get the four that are for them.
func TestBrokerFile(t *testing.T) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, Username: "ann", Password: "s3cret"})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(readyTime))
	file := filepath.Join(t.TempDir(), "broker")
	url := "nats://ann:s3cret@" + s.Addr().String()
	require.NoError(t, os.WriteFile(file, []byte(url+"\n"), 0o600))

	t.Setenv("MIGLINK_NATS", url)
	t.Setenv("MIGLINK_BROKER", url)
	o := miglink(t, "agent", "--vm", "vm-1", "--broker-file", file)
	require.Equal(t, 2, o.status)
	require.Contains(t, o.errors, "only one can be meant")
	o = miglink(t, "controller", "--broker-file", file)
	require.Equal(t, 2, o.status)
	require.Contains(t, o.errors, "its flag is given, too")
	require.NotContains(t, o.errors, "s3cret")
	require.NoError(t, os.Unsetenv("MIGLINK_NATS"))

	_, controllerURL := startController(t, "--broker-file", file)
	echo := script(t, "env | grep -i ^miglink_ | sort | tr '\\n' ' '")
	for name, args := range map[string][]string{"by file": {"--broker-file", file}, "by variable": nil} {
		if args != nil {
			require.NoError(t, os.Unsetenv("MIGLINK_BROKER"))
		} else {
			t.Setenv("MIGLINK_BROKER", url)
		}
		p := start(t, append([]string{"agent", "--vm", "vm-1", "--transport", "nats", "--exec", "drain=" + echo}, args...)...)
		id := strings.ReplaceAll(name, " ", "-")
		ok(t, "send", "vm-1", "drain", "--id", id, "--controller", controllerURL, "--wait", "60s")
		require.Contains(t, ok(t, "status", id, "--controller", controllerURL),
			`{"output":"MIGLINK_ATTEMPT=1 MIGLINK_COMMAND_ID=`+id+` MIGLINK_COMMAND_TYPE=drain MIGLINK_VM=vm-1"}`, name)
		p.kill()
	}
}

func TestBadBrokerFile(t *testing.T) {
	t.Parallel()
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "broker")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}
	for name, c := range map[string]struct {
		args []string
		want string
	}{
		"none":             {[]string{"agent", "--vm", "x", "--broker-file", "/does/not/exist"}, "/does/not/exist"},
		"empty":            {[]string{"agent", "--vm", "x", "--broker-file", file("\n")}, "0 URLs, one is needed"},
		"two":              {[]string{"agent", "--vm", "x", "--broker-file", file("nats://x\nnats://y\n")}, "2 URLs, one is needed"},
		"empty, of many":   {[]string{"controller", "--broker-file", file("")}, "no URL in it"},
		"unknown":          {[]string{"controller", "--broker-file", file("redis://x\npigeon://u:s3cret@x")}, "URL 2: not like nats://"},
		"no URL":           {[]string{"controller", "--broker-file", file("s3cret\x7f:")}, "URL 1: not like nats://"},
		"two of one kind":  {[]string{"controller", "--broker-file", file("redis://:s3cret@x\nrediss://x")}, "URL 2: a second one of its kind"},
		"checked as flags": {[]string{"controller", "--keys", newKeys(t), "--broker-file", file("redis://:s3cret@example.com")}, "in the clear"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := miglink(t, c.args...)
			require.Equal(t, 2, o.status, o.errors)
			require.Contains(t, o.errors, c.want)
			require.NotContains(t, o.errors, "s3cret")
		})
	}
}

// deaf starts the program, and goes away once it has printed a line: what it prints then meets a pipe without a reader.
func deaf(t *testing.T, args ...string) (cmd *exec.Cmd, first string) {
	t.Helper()
	cmd = program(t, args...)
	out, outEnd, err := os.Pipe()
	require.NoError(t, err)
	errs, errEnd, err := os.Pipe()
	require.NoError(t, err)
	cmd.Stdout, cmd.Stderr = outEnd, errEnd
	require.NoError(t, cmd.Start())
	outEnd.Close()
	errEnd.Close()
	errs.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	first, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	out.Close()
	return cmd, first
}

// What a supervisor and a log pipe do to a controller and an agent does not end them: signals of which they want nothing, and
// who read their log is gone.
func TestDaemonsLiveOn(t *testing.T) {
	t.Parallel()
	ctl, first := deaf(t, "controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--drain", "0s", "--log-level", "debug")
	_, after, _ := strings.Cut(first, "http://")
	address, _, _ := strings.Cut(after, ",")
	url := "http://" + address
	agent, _ := deaf(t, "agent", "--vm", "vm-1", "--controller", url, "--log-level", "debug")
	for i := range 3 {
		for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGPIPE, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGALRM} {
			require.NoError(t, ctl.Process.Signal(signal))
			require.NoError(t, agent.Process.Signal(signal))
		}
		ok(t, "send", "vm-1", "drain", "--id", fmt.Sprint("c", i), "--controller", url, "--wait", "60s")
	}
	for _, cmd := range []*exec.Cmd{agent, ctl} {
		require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
		require.NoError(t, cmd.Wait(), "it does not end as it should")
	}
}

// A program does not inherit what its agent does about signals.
func TestProgramsHaveTheDefaultSignals(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	start(t, "agent", "--vm", "vm-1", "--controller", url,
		"--exec", "hangup="+script(t, "kill -HUP $$; sleep 60"), "--exec", "pipe="+script(t, "kill -PIPE $$; sleep 60"))
	for kind, want := range map[string]string{"hangup": "signal: hangup", "pipe": "signal: broken pipe"} {
		o := miglink(t, "send", "vm-1", kind, "--controller", url, "--wait", "60s")
		require.Equal(t, 1, o.status)
		require.Contains(t, o.errors, want)
	}
}

// A command that prints a result ends when nobody wants more of it.
func TestCommandsEndWithTheirReader(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	start(t, "agent", "--vm", "vm-1", "--controller", url, "--heartbeat", "1ms")
	watch := program(t, "watch", "--controller", url)
	out, end, err := os.Pipe()
	require.NoError(t, err)
	watch.Stdout = end
	require.NoError(t, watch.Start())
	end.Close()
	_, err = bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	out.Close()
	ended := make(chan error, 1)
	go func() { ended <- watch.Wait() }()
	select {
	case err := <-ended:
		require.ErrorContains(t, err, "signal: broken pipe")
	case <-time.After(patience):
		require.Fail(t, "it goes on")
	}
}

// What is no file is not replaced by a token: for root that could be /dev/null. A link stays, and leads to the token.
func TestTokenOutReplacesFilesOnly(t *testing.T) {
	t.Parallel()
	keys, dir := newKeys(t), t.TempDir()
	socket := filepath.Join(dir, "socket")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	defer l.Close()
	astray, link, file := filepath.Join(dir, "astray"), filepath.Join(dir, "link"), filepath.Join(dir, "file")
	require.NoError(t, os.Symlink(filepath.Join(dir, "nothing"), astray))
	require.NoError(t, os.WriteFile(file, []byte("old"), 0o644))
	require.NoError(t, os.Symlink(file, link))
	toSocket := filepath.Join(dir, "to-socket")
	require.NoError(t, os.Symlink(socket, toSocket))
	for name, want := range map[string]string{dir: "no file", socket: "no file", toSocket: "no file", astray: "leads to nothing"} {
		before, err := os.Lstat(name)
		require.NoError(t, err)
		o := miglink(t, "token", "--keys", keys, "--vm", "vm-1", "--out", name)
		require.Equal(t, exitUsage, o.status, "%s: %s", name, o.errors)
		require.Contains(t, o.errors, want)
		after, err := os.Lstat(name)
		require.NoError(t, err)
		require.True(t, os.SameFile(before, after), name)
	}
	ok(t, "token", "--keys", keys, "--vm", "vm-1", "--out", link)
	info, err := os.Lstat(link)
	require.NoError(t, err)
	require.NotZero(t, info.Mode()&os.ModeSymlink, "the link stays")
	token, err := os.ReadFile(file)
	require.NoError(t, err)
	require.NotEqual(t, "old", string(token))
	info, err = os.Lstat(file)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode())
}

// A token that is written to a file is for its owner's eyes, whatever was there before.
func TestTokenOut(t *testing.T) {
	t.Parallel()
	keys, dir := newKeys(t), t.TempDir()
	name := filepath.Join(dir, "vm.token")
	require.NoError(t, os.WriteFile(name, []byte("old"), 0o644))
	for range 2 {
		o := miglink(t, "token", "--keys", keys, "--vm", "vm-1", "--out", name)
		require.Zero(t, o.status, o.errors)
		require.Empty(t, o.out)
		info, err := os.Stat(name)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode())
	}
	_, url := startController(t, "--keys", keys)
	start(t, "agent", "--vm", "vm-1", "--controller", url, "--token-file", name).log.await(t, "linked")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	o := miglink(t, "token", "--keys", keys, "--vm", "vm-1", "--out", dir) // a directory stays one
	require.Equal(t, 2, o.status)
	left, err = os.ReadDir(dir)
	require.NoError(t, err)
	require.Len(t, left, 1)
	for _, made := range []string{keys, name} {
		require.NoError(t, filepath.WalkDir(made, func(path string, d os.DirEntry, err error) error {
			require.NoError(t, err)
			info, err := d.Info()
			require.NoError(t, err)
			require.Zero(t, info.Mode()&0o077, path)
			return nil
		}))
	}
}
