package main

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func yamlFile(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "miglink.yaml")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}

// A file says what flags say, and counts less than a flag and than the environment.
func TestConfig(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := yamlFile(t, "listen: 127.0.0.1:0\ndata: "+dir+"\nwindow: 7\ndrain: 0s\nallow-host: [a.example, b.example]\ninsecure: true\n")
	require.Contains(t, ok(t, "config", "check", "controller", file), "good for miglink controller")
	require.Contains(t, start(t, "controller", "--config", file).first, "ledger in "+dir)

	other := t.TempDir()
	require.Contains(t, start(t, "controller", "--config", file, "--data", other).first, "ledger in "+other, "a flag counts more")
	last := t.TempDir()
	cmd := program(t, "controller", "--config", yamlFile(t, "window: 0"), "--data", last)
	cmd.Env = append(cmd.Env, "MIGLINK_WINDOW=-1")
	out, err := cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "--window is less than 1")

	cmd = program(t, "controller", "--listen", "127.0.0.1:0")
	cmd.Env = append(cmd.Env, "MIGLINK_CONFIG="+yamlFile(t, "windw: 3"))
	out, err = cmd.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), `there is no flag "windw", did you mean "window"?`, "a file named by the environment is read, too")

	agent := yamlFile(t, "vm: vm-1\nexec:\n  drain: /bin/true\ncontroller: http://127.0.0.1:1\n")
	require.Contains(t, ok(t, "config", "check", "agent", agent), "good")
	require.Contains(t, start(t, "agent", "--config", agent).first, "agent: vm-1, to http://127.0.0.1:1")
	require.Contains(t, ok(t, "config", "check", "controller", yamlFile(t, "# nothing\n")), "good")

	// What looks like a number, or a duration, is what stands there.
	limited := yamlFile(t, "vm: 1.10\nexec: {a/1: /bin/true}\nrun-timeout: {drain: 90s, a/1: 1h}\n")
	require.Contains(t, start(t, "agent", "--config", limited, "--controller", "http://127.0.0.1:1").first, "agent: 1.10, to")
	require.Contains(t, ok(t, "config", "check", "bench", yamlFile(t, "known: [10, 20]\n")), "good")
	o := miglink(t, "token", "--operator", "x", "--config", yamlFile(t, "keys: "+t.TempDir()+"\ngrant: [read@1.10, 010]\n"))
	require.Contains(t, o.errors, `grant "010"`)
}

// A value is what would stand on the command line, letter by letter.
func TestConfigValues(t *testing.T) {
	t.Parallel()
	var c cli
	parser := newParser(&c, io.Discard)
	_, err := parser.Parse([]string{"controller", "--config", yamlFile(t, `---
data: &place 0012
prefix: *place
allow-host: [1, 2.50, true, "x", *place]
oidc-require: {number: 12345678901234567890, version: 1.10, octal: 0123, "yes": yes, place: *place, comma: "a,b;c=d"}
...
`)})
	require.NoError(t, err)
	require.Equal(t, "0012", c.Controller.Data)
	require.Equal(t, "0012", c.Controller.Prefix)
	require.Equal(t, []string{"1", "2.50", "true", "x", "0012"}, c.Controller.AllowHost)
	require.Equal(t, map[string]string{
		"number": "12345678901234567890", "version": "1.10", "octal": "0123", "yes": "yes", "place": "0012", "comma": "a,b;c=d",
	}, c.Controller.OIDCRequire)
}

func TestBadConfig(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"\nlisten_: x":               `line 2: there is no flag "listen_", did you mean "listen"?`,
		"Listen: x":                  `did you mean "listen"?`,
		"vm: x":                      `there is no flag "vm"`,
		"config: x":                  `there is no flag "config"`,
		"listen: a\nlisten: b":       "line 2: listen is there twice",
		"listen:":                    "line 1: listen: it has no value",
		"listen: [a, b]":             "line 1: listen: it has no value that this flag can have",
		"- listen":                   "it is to have lines like",
		"listen: a\n---\nlisten: b":  "more than one document",
		"listen: a\n---\nlisten: {":  "more than one document",
		"allow-host: [a, [b]]":       "line 1: allow-host: value 2 is not text",
		"allow-host: [a, ~]":         "line 1: allow-host: value 2 is not text",
		"oidc-require: {a: [b]}":     "line 1: oidc-require: the value of a is not text",
		"oidc-require: {a: b, a: c}": "line 1: oidc-require: a is there twice",
		"listen: {":                  "yaml",
		"window: many":               "window",
		"lease: soon":                "lease",
		"log-level: loud":            "log-level",
		"tls-cert: x":                "--tls-cert and --tls-key go together",
		"listen: 0.0.0.0:80":         "--insecure",
		"nats: foo":                  "--nats: ",
		"oidc-issuer: https://x.io":  "--oidc-audience",
	} {
		o := miglink(t, "config", "check", "controller", yamlFile(t, text))
		require.Equal(t, exitUsage, o.status, "%q: %s", text, o.errors)
		require.Contains(t, o.errors, want, text)
		require.Empty(t, o.out)
	}
	for text, want := range map[string]string{
		"vm: ..":                         "vm_id",
		"vm: x\ntransport: pigeon":       `unknown transport "pigeon"`,
		"vm: x\ntransport: nats":         "the broker's URL is not given",
		"vm: x\ncontroller: foo":         `"foo" is neither http:// nor https://`,
		"vm: x\nheartbeat: -1s":          "--heartbeat",
		"vm: x\nexec-grace: -1s":         "--exec-grace",
		"vm: x\nexec: {cancel: x}":       "--exec",
		"vm: x\nexec: {Drain: x}":        "--exec",
		"vm: x\nexec: {drain: [x]}":      "line 2: exec: the value of drain",
		"vm: x\ncontroller: https://a b": "controller",
	} {
		o := miglink(t, "config", "check", "agent", yamlFile(t, text))
		require.Equal(t, exitUsage, o.status, "%q: %s", text, o.errors)
		require.Contains(t, o.errors, want, text)
	}
	elsewhere := yamlFile(t, "vm: x\nexec: {drain: /not/on/this/machine}\ntransport: nats\nbroker-file: /nor/this\nca: /nor/this\n")
	require.Contains(t, ok(t, "config", "check", "agent", elsewhere), "good for miglink agent")
	o := miglink(t, "config", "check", "agent", "")
	require.Equal(t, exitUsage, o.status, "a variable that is not set")
	require.Contains(t, o.errors, "<file> is empty")
	require.Equal(t, exitUsage, miglink(t, "config", "check", "controller", "/does/not/exist").status)
	require.Equal(t, exitUsage, miglink(t, "config", "check", "frobnicate", yamlFile(t, "")).status)
}

// What may come next, as shells ask for it.
func TestCompletion(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"sen":                                 "send",
		"config ":                             "check",
		"completion ":                         "bash zsh fish",
		"send vm-1 drain --out":               "--output",
		"send --output ":                      "table json",
		"send --output j":                     "json",
		"fleet --controller http://x --out":   "--output",
		"controller --standby --log-level d":  "debug",
		"controller --keys ":                  "", // a directory
		"controller --log-level=d":            "--log-level=debug",
		"controller --log-level = d":          "debug", // as bash has it
		"controller --log-level =":            "debug info warn error",
		"controller --log-level = debug --st": "--standby",
		"send vm-1 drain --params =":          "",
		"send --file=c":                       "", // a file
		"bench-":                              "",
	} {
		words := strings.Split(line, " ")
		require.Equal(t, strings.Fields(want), strings.Fields(ok(t, append([]string{completing}, words...)...)), line)
	}
	for _, shell := range []string{"bash", "zsh", "fish"} {
		script := ok(t, "completion", shell)
		require.Contains(t, script, completing)
		path, err := exec.LookPath(shell)
		if err != nil || shell != "bash" {
			continue
		}
		dir := t.TempDir()
		require.NoError(t, os.Symlink(must(filepath.Abs(os.Args[0])), filepath.Join(dir, "miglink")))
		cmd := exec.CommandContext(t.Context(), path, "-c", script+`
COMP_WORDS=("$0" send --output ""); COMP_CWORD=3; _miglink; echo "${COMPREPLY[@]}"`, filepath.Join(dir, "miglink"))
		cmd.Env = append(os.Environ(), asMiglink+"=1")
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		require.Equal(t, "table json\n", string(out))
	}
	require.Equal(t, exitUsage, miglink(t, "completion", "csh").status)
}

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	require.Equal(t, ok(t, "--help"), ok(t, "help"))
	require.Equal(t, ok(t, "config", "check", "--help"), ok(t, "help", "config", "check"))
	require.Equal(t, ok(t, "version"), ok(t, "--version"))
	help := strings.Join(strings.Fields(ok(t, "controller", "--help")), " ")
	for _, s := range []string{"Default: 127.0.0.1:8080.", "Default: miglink-data.", "Default: 30s.", "--config=FILE"} {
		require.Contains(t, help, s)
	}
}
