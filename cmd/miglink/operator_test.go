package main

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/ledger/memory"
)

// The token is of a file or of the environment, and each refusal has a status and says what to do.
func TestOperatorToken(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	server := httptest.NewServer(http.StripPrefix("/admin/v1", admin.Handler(c, admin.Options{Authenticator: admin.Tokens(
		func(token string) (string, []string, time.Time, error) {
			switch token {
			case "reader's":
				return "reader", []string{"read"}, time.Time{}, nil
			case "old":
				return "reader", []string{"read"}, time.Unix(1, 0), nil
			}
			return "", nil, time.Time{}, errors.New("unknown")
		})})))
	defer server.Close()
	file := func(content string) string {
		name := filepath.Join(t.TempDir(), "token")
		require.NoError(t, os.WriteFile(name, []byte(content), 0o600))
		return name
	}
	run := func(env string, args ...string) output {
		cmd := program(t, append(args, "--controller", server.URL)...)
		cmd.Env = append(cmd.Env, "MIGLINK_OPERATOR_TOKEN="+env)
		var out, errs strings.Builder
		cmd.Stdout, cmd.Stderr = &out, &errs
		_ = cmd.Run() // its status is looked at
		return output{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
	}
	for _, test := range []struct {
		env    string
		args   []string
		status int
		want   string
	}{
		{"reader's", []string{"fleet"}, 0, ""},
		{"wrong", []string{"fleet", "--token-file", file("reader's\n")}, 0, ""},
		{"", []string{"fleet"}, 5, "give a token with --token-file, or in MIGLINK_OPERATOR_TOKEN"},
		{"wr0ng", []string{"watch"}, 5, "the token is that of MIGLINK_OPERATOR_TOKEN"},
		{"", []string{"status", "x", "--token-file", file("wr0ng")}, 5, "/token)"},
		{"old", []string{"fleet"}, 5, "credentials_expired"},
		{"reader's", []string{"send", "vm-1", "drain"}, 6, "this needs the grant send:drain@vm-1"},
		{"reader's", []string{"cancel", "none"}, 9, "no such command"},
		{"wr0ng\nX: y", []string{"fleet"}, 2, "MIGLINK_OPERATOR_TOKEN: the token holds spaces"},
		{"", []string{"fleet", "--token-file", file("")}, 2, "token: the token is empty"},
		{"", []string{"fleet", "--token-file", "/does/not/exist"}, 2, "/does/not/exist"},
	} {
		o := run(test.env, test.args...)
		require.Equal(t, test.status, o.status, "%v: %s", test.args, o.errors)
		require.Contains(t, o.errors, test.want, "%v", test.args)
		require.LessOrEqual(t, strings.Count(o.errors, "\n"), 1)
		require.NotContains(t, o.errors, "wr0ng")
	}
}

// What operators ask of a controller is in its file, from which SIGHUP makes it let go.
func TestAuditFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "audit.log")
	ctl, url := startController(t, "--audit", path)
	ok(t, "send", "vm-1", "register_runner", "--controller", url, "--id", "c-1", "--params", `{"registration_token":"s3cr3t","runner_url":"https://ci.example.com/a"}`)
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), `"command_id":"c-1","parameters":{"registration_token":"[redacted]"`)
	require.Equal(t, 1, strings.Count(string(b), "\n"))

	require.NoError(t, os.Rename(path, path+".1"))
	require.NoError(t, ctl.cmd.Process.Signal(syscall.SIGHUP))
	require.Eventually(t, func() bool {
		_, err := os.Stat(path)
		return err == nil
	}, patience, 5*time.Millisecond)
	ok(t, "fleet", "--controller", url)
	b, err = os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), `"action":"fleet"`)
	require.Zero(t, ctl.interrupt(), ctl.log)

	o := miglink(t, "controller", "--audit", dir, "--data", t.TempDir())
	require.Equal(t, 2, o.status)
	require.Contains(t, o.errors, "--audit")
}
