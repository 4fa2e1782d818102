package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
	"github.com/miglink/miglink/internal/certtest"
)

// The test binary is the program, too, so that processes can be killed and exit statuses seen. The
// variable is not one of MIGLINK_: the demo's children, which inherit none of those, need it.
const asMiglink = "TEST_AS_MIGLINK"

func TestMain(m *testing.M) {
	if os.Getenv(asMiglink) != "" {
		os.Exit(run(os.Args[1:]))
	}
	os.Exit(m.Run())
}

// patience is how long a process may take for what it does at once.
const patience = 60 * time.Second

func program(t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0], args...)
	cmd.Env = append(os.Environ(), asMiglink+"=1")
	return cmd
}

type output struct {
	status      int
	out, errors string
}

// miglink runs the program to its end.
func miglink(t *testing.T, args ...string) output {
	t.Helper()
	cmd := program(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		require.NoError(t, err)
	}
	return output{cmd.ProcessState.ExitCode(), out.String(), errs.String()}
}

// ok is miglink, which has to succeed.
func ok(t *testing.T, args ...string) string {
	t.Helper()
	o := miglink(t, args...)
	require.Zero(t, o.status, "miglink %s: %s", strings.Join(args, " "), o.errors)
	return o.out
}

// process is a running program.
type process struct {
	t     *testing.T
	cmd   *exec.Cmd
	first string // line of its standard output
	out   *printed
	log   *printed
	ended chan struct{}
}

// printed collects what a process prints, and can be waited on.
type printed struct {
	mu   sync.Mutex
	b    bytes.Buffer
	more chan struct{} // closed and replaced with each write
}

func newPrinted() *printed { return &printed{more: make(chan struct{})} }

func (l *printed) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.more)
	l.more = make(chan struct{})
	return l.b.Write(p)
}

func (l *printed) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// await returns once the text is there.
func (l *printed) await(t *testing.T, text string) {
	t.Helper()
	limit := time.After(patience)
	for {
		l.mu.Lock()
		found, more := strings.Contains(l.b.String(), text), l.more
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-limit:
			require.Failf(t, "it does not print what is awaited", "%q, but: %s", text, l)
		}
	}
}

// start runs the program until the test ends, and returns once it has printed a line.
func start(t *testing.T, args ...string) *process {
	t.Helper()
	p := &process{t: t, cmd: program(t, args...), out: newPrinted(), log: newPrinted(), ended: make(chan struct{})}
	p.cmd.Stderr = p.log
	stdout, err := p.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, p.cmd.Start())
	first := make(chan string, 1)
	go func() {
		defer close(p.ended)
		r := bufio.NewReader(stdout)
		line, _ := r.ReadString('\n')
		first <- line
		_, _ = io.WriteString(p.out, line)
		_, _ = io.Copy(p.out, r)
		_ = p.cmd.Wait()
	}()
	t.Cleanup(p.kill)
	select {
	case p.first = <-first:
	case <-time.After(patience):
		require.Fail(t, "the process prints nothing", p.log.String())
	}
	return p
}

// kill is kill -9.
func (p *process) kill() {
	_ = p.cmd.Process.Kill() // it may be gone
	<-p.ended
}

// interrupt is Ctrl-C; it returns the exit status.
func (p *process) interrupt() int {
	p.t.Helper()
	require.NoError(p.t, p.cmd.Process.Signal(syscall.SIGINT))
	select {
	case <-p.ended:
	case <-time.After(patience):
		require.Fail(p.t, "the process does not stop", p.log.String())
	}
	return p.cmd.ProcessState.ExitCode()
}

// startController returns its URL.
func startController(t *testing.T, args ...string) (*process, string) {
	t.Helper()
	p := start(t, append([]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--drain", "0s"}, args...)...)
	_, after, found := strings.Cut(p.first, "http://")
	require.True(t, found, "%s%s", p.first, p.log)
	address, _, _ := strings.Cut(after, ",")
	return p, "http://" + address
}

func script(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "script")
	require.NoError(t, os.WriteFile(name, []byte("#!/bin/sh\n"+text+"\n"), 0o700))
	return name
}

func TestBadInput(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	taken := listener.Addr().String()
	t.Cleanup(func() { listener.Close() })
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dead := "http://" + closed.Addr().String()
	require.NoError(t, closed.Close())
	keys := t.TempDir()
	_, err = auth.NewKey(keys)
	require.NoError(t, err)
	ca, pair := certtest.NewAuthority(t), certtest.NewFiles(t)
	pair.Write(ca.Server(t, "127.0.0.1"), ca)
	badLine := filepath.Join(t.TempDir(), "commands.jsonl")
	require.NoError(t, os.WriteFile(badLine, []byte(
		`{"vm_id":"vm","type":"drain","parameters":{}}`+"\n\n"+`{"vm_id":"vm","type":"set_log_level","parameters":{"level":"loud"}}`+"\n"), 0o600))

	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"no command":             {nil, 2, "expected one of"},
		"unknown command":        {[]string{"frobnicate"}, 2, "unexpected argument frobnicate"},
		"no broker":              {[]string{"agent", "--vm", "x", "--transport", "nats"}, 2, "the broker's URL is not given"},
		"auto, bad broker":       {[]string{"agent", "--vm", "x", "--broker", "pigeon://x"}, 2, "the broker's URL is to be like"},
		"another's broker":       {[]string{"agent", "--vm", "x", "--transport", "redis", "--broker", "nats://x"}, 2, "redis://host:6379"},
		"demo, redis by name":    {[]string{"demo", "--transports", "redis"}, 2, "--redis URL"},
		"demo, bad redis":        {[]string{"demo", "--redis", "x"}, 2, "redis://host:6379"},
		"dead redis":             {[]string{"controller", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--redis", "redis://127.0.0.1:1"}, 3, "connection refused"},
		"bad pubsub":             {[]string{"agent", "--vm", "x", "--transport", "gcppubsub", "--broker", "x"}, 2, "gcppubsub://PROJECT"},
		"bench of nothing":       {[]string{"bench", "--transports", "pigeon"}, 2, "no transport"},
		"bench onto nothing":     {[]string{"bench", "--html", "/does/not/exist"}, 2, "/does/not/exist"},
		"bench without a server": {[]string{"bench", "--transports", "redis"}, 2, "URL of a server"},
		"negative keepalive":     {[]string{"controller", "--data", t.TempDir(), "--keepalive=-1s"}, 2, "--keepalive is negative"},
		"dead rabbitmq":          {[]string{"controller", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--amqp", "amqp://127.0.0.1:1"}, 3, "connection refused"},
		"bad broker":             {[]string{"agent", "--vm", "x", "--transport", "nats", "--broker", "x"}, 2, "nats://host:4222"},
		"dead broker":            {[]string{"controller", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--nats", "nats" + strings.TrimPrefix(dead, "http")}, 3, "connection refused"},
		"unknown flag":           {[]string{"fleet", "--colour"}, 2, "unknown flag --colour"},
		"send to nobody":         {[]string{"send"}, 2, "a VM and a type"},
		"send and file":          {[]string{"send", "vm", "drain", "--file", "x"}, 2, "--file names VMs"},
		"parameters, no JSON":    {[]string{"send", "vm", "drain", "--params", "{"}, 2, "parameters"},
		"parameters, wrong":      {[]string{"send", "vm", "set_log_level", "--params", `{"level":"loud"}`}, 2, "level"},
		"parameters, no file":    {[]string{"send", "vm", "drain", "--params", "@/does/not/exist"}, 2, "/does/not/exist"},
		"TTL of no time":         {[]string{"send", "vm", "drain", "--ttl", "soon"}, 2, "ttl"},
		"TTL in the past":        {[]string{"send", "vm", "drain", "--ttl=-5s"}, 2, "TTL"},
		"bad line":               {[]string{"send", "--file", badLine}, 2, "commands.jsonl line 3"},
		"no file":                {[]string{"send", "--file", "/does/not/exist"}, 2, "/does/not/exist"},
		"bad type":               {[]string{"send", "vm", "Two Words"}, 2, "type"},
		"controller not a URL":   {[]string{"fleet", "--controller", "localhost"}, 2, "localhost"},
		"dead controller":        {[]string{"send", "vm", "drain", "--controller", dead}, 3, "connection refused"},
		"dead controller, fleet": {[]string{"fleet", "--controller", dead}, 3, "connection refused"},
		"no VM":                  {[]string{"agent"}, 2, "--vm"},
		"bad VM":                 {[]string{"agent", "--vm", ".."}, 2, "vm_id"},
		"unknown transport":      {[]string{"agent", "--vm", "vm", "--transport", "pigeon"}, 2, "pigeon"},
		"exec of a bad type":     {[]string{"agent", "--vm", "vm", "--exec", "A B=true"}, 2, "--exec"},
		"exec of cancel":         {[]string{"agent", "--vm", "vm", "--exec", "cancel=true"}, 2, "cancel"},
		"exec of no program":     {[]string{"agent", "--vm", "vm", "--exec", "drain=/does/not/exist"}, 2, "/does/not/exist"},
		"public address":         {[]string{"controller", "--listen", ":0", "--data", t.TempDir()}, 2, "--insecure"},
		"public, agents asked":   {[]string{"controller", "--listen", ":0", "--data", t.TempDir(), "--broker-users", "--amqp", "amqp://x"}, 2, "operators are not asked"},
		"keys of nobody":         {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--keys", t.TempDir()}, 2, "no key"},
		"no directory of keys":   {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--keys", "/does/not/exist"}, 2, "/does/not/exist"},
		"issuer, no audience":    {[]string{"controller", "--oidc-issuer", "https://x"}, 2, "--oidc-audience"},
		"issuer not a URL":       {[]string{"controller", "--listen", "127.0.0.1:0", "--oidc-issuer", "x", "--oidc-audience", "x"}, 2, "https://issuer"},
		"any project's issuer":   {[]string{"controller", "--listen", "127.0.0.1:0", "--oidc-issuer", "https://accounts.google.com", "--oidc-audience", "x"}, 2, "project_id is mandatory"},
		"dead issuer":            {[]string{"controller", "--listen", "127.0.0.1:0", "--oidc-issuer", dead, "--oidc-audience", "x"}, 3, "connection refused"},
		"require of no issuer":   {[]string{"controller", "--oidc-require", "a=b"}, 2, "--oidc-issuer"},
		"authority without TLS":  {[]string{"controller", "--client-ca", "x"}, 2, "--tls-cert"},
		"no clients' authority":  {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--client-ca", "/does/not/exist", "--tls-cert", pair.Cert, "--tls-key", pair.Key}, 2, "/does/not/exist"},
		"no authority in it":     {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--client-ca", badLine, "--tls-cert", pair.Cert, "--tls-key", pair.Key}, 2, "no PEM certificate"},
		"users of no broker":     {[]string{"controller", "--broker-users"}, 2, "--amqp"},
		"token of nothing":       {[]string{"token", "--keys", keys}, 2, "one of --vm"},
		"token without keys":     {[]string{"token", "--vm", "vm"}, 2, "--keys"},
		"token of no key":        {[]string{"token", "--keys", t.TempDir(), "--vm", "vm"}, 2, "--new-key makes one"},
		"token, bad VM":          {[]string{"token", "--keys", keys, "--vm", ".."}, 2, "vm_id"},
		"token, bad pattern":     {[]string{"token", "--keys", keys, "--vms", "["}, 2, "no pattern"},
		"token of two kinds":     {[]string{"token", "--keys", keys, "--vm", "vm", "--operator", "ann", "--grant", "x"}, 2, "not both"},
		"token, one and many":    {[]string{"token", "--keys", keys, "--vm", "vm", "--vms", "*"}, 2, "--vms"},
		"operator of nothing":    {[]string{"token", "--keys", keys, "--operator", "ann"}, 2, "--grant"},
		"grant to a VM":          {[]string{"token", "--keys", keys, "--vm", "vm", "--grant", "x"}, 2, "--operator"},
		"token of no time":       {[]string{"token", "--keys", keys, "--vm", "vm", "--ttl", "0s"}, 2, "--ttl"},
		"no token file":          {[]string{"agent", "--vm", "vm", "--token-file", "/does/not/exist"}, 2, "/does/not/exist"},
		"no token in the file":   {[]string{"agent", "--vm", "vm", "--token-file", badLine}, 2, "commands.jsonl"},
		"two tokens":             {[]string{"agent", "--vm", "vm", "--token-file", "x", "--gce-audience", "x"}, 2, "only one"},
		"a token as a flag":      {[]string{"agent", "--vm", "vm", "--token", "x"}, 2, "unknown flag --token"},
		"no address":             {[]string{"controller", "--listen", "here", "--data", t.TempDir()}, 2, "--listen"},
		"address in use":         {[]string{"controller", "--listen", taken, "--data", t.TempDir()}, 2, "in use"},
		"no certificate":         {[]string{"controller", "--tls-cert", "/does/not/exist", "--tls-key", badLine, "--data", t.TempDir()}, 2, "/does/not/exist"},
		"no authority":           {[]string{"agent", "--vm", "x", "--ca", badLine}, 2, "no PEM certificate"},
		"no authority, operator": {[]string{"fleet", "--ca", badLine}, 2, "no PEM certificate"},
		"client, no key":         {[]string{"watch", "--cert", badLine}, 2, "--cert-key"},
		"client of brokers":      {[]string{"controller", "--broker-key", badLine, "--listen", "127.0.0.1:0", "--data", t.TempDir()}, 2, "--broker-cert"},
		"certificate, no key":    {[]string{"controller", "--tls-cert", "x", "--data", t.TempDir()}, 2, "--tls-key"},
		"lease of no time":       {[]string{"controller", "--lease", "0s", "--data", t.TempDir()}, 2, "--lease"},
		"unknown subject":        {[]string{"conformance", "--subjects", "pigeon"}, 2, "pigeon"},
		"unknown scenario":       {[]string{"conformance", "--scenarios", "1000"}, 2, "1000"},
		"demo of nothing":        {[]string{"demo", "--rounds", "0"}, 2, "--rounds"},
		"demo, bad transport":    {[]string{"demo", "--transports", "pigeon"}, 2, "pigeon"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := miglink(t, c.args...)
			require.Equal(t, c.status, o.status, o.errors)
			require.Contains(t, o.errors, c.want)
			require.Empty(t, o.out)
			require.Equal(t, 1, strings.Count(o.errors, "\n"), "one clear line: %s", o.errors)
			require.Less(t, len(o.errors), 400)
		})
	}
}

func TestSendStatusCancelWatch(t *testing.T) {
	t.Parallel()
	ctl, url := startController(t, "--log-level", "debug")
	to := func(args ...string) []string { return append(args, "--controller", url) }
	agent := start(t, to("agent", "--vm", "vm-1", "--heartbeat", "50ms", "--journal", t.TempDir(), "--log-level", "debug",
		"--exec", "drain="+script(t, `cat; echo " $MIGLINK_COMMAND_TYPE $MIGLINK_VM $MIGLINK_ATTEMPT $MIGLINK_COMMAND_ID"`),
		"--exec", "fail="+script(t, "echo the disk is full >&2; exit 3"),
		"--exec", "slow="+script(t, "sleep 3600"))...)
	watch := start(t, to("watch", "vm-1", "--output", "table")...)

	out := ok(t, to("send", "vm-1", "drain", "--id", "c1", "--params", `{"reason":"deploy"}`, "--wait", "60s")...)
	require.Equal(t, "c1 drain to vm-1: succeeded\n", out)
	out = ok(t, to("status", "c1")...)
	require.Contains(t, out, `{"output":"{\"reason\":\"deploy\"} drain vm-1 1 c1"}`, "parameters on standard input, and the environment")
	for _, stage := range []string{"queued", "delivered", "succeeded"} { // one that is fast skips the rest
		require.Contains(t, out, stage)
	}

	o := miglink(t, to("send", "vm-1", "fail", "--wait", "60s")...)
	require.Equal(t, 1, o.status)
	require.Contains(t, o.errors, "failed: exit status 3: the disk is full")

	o = miglink(t, to("send", "vm-1", "no_such_type", "--wait", "60s")...)
	require.Equal(t, 1, o.status)
	require.Contains(t, o.errors, "rejected")
	require.Contains(t, o.errors, "set_log_level", "the types that the agent knows")

	o = miglink(t, to("send", "vm-1", "slow", "--id", "c2", "--wait", "50ms")...)
	require.Equal(t, 4, o.status)
	require.Contains(t, o.errors, "it goes on")
	watch.out.await(t, "c2: started")
	out = ok(t, to("cancel", "c2", "--reason", "not now", "--wait", "60s")...)
	require.Contains(t, out, "c2 slow to vm-1: canceled")
	o = miglink(t, to("cancel", "nobody")...)
	require.Equal(t, 2, o.status)

	o = miglink(t, to("send", "vm-1", "register_runner", "--wait", "60s", "--params",
		`{"registration_token":"s3cr3t","runner_url":"https://ci.example.com/a","runner_group":"g","labels":[]}`)...)
	require.Zero(t, o.status, o.errors)

	file := filepath.Join(t.TempDir(), "commands.jsonl")
	require.NoError(t, os.WriteFile(file, []byte(strings.Repeat(`{"vm_id":"vm-1","type":"update_config","parameters":{"config_key":"k","config_value":"v"}}`+"\n", 20)), 0o600))
	out = ok(t, to("send", "--file", file)...)
	require.Equal(t, "20 commands queued for 1 VMs\n", out)
	out = ok(t, to("send", "--file", file, "--wait", "60s", "--output", "json")...)
	var statuses []struct {
		Stage string `json:"stage"`
	}
	require.NoError(t, json.Unmarshal([]byte(out), &statuses), out)
	require.Len(t, statuses, 20)
	for _, s := range statuses {
		require.Equal(t, "succeeded", s.Stage)
	}

	require.Contains(t, ok(t, to("status", "vm-1")...), "vm-1, the latest 20 commands")
	require.Contains(t, ok(t, to("status")...), "online")
	var fleet []map[string]any
	require.NoError(t, json.Unmarshal([]byte(ok(t, to("fleet", "--output", "json")...)), &fleet))
	require.Len(t, fleet, 1)
	require.Equal(t, "ws", fleet[0]["transport"])
	o = miglink(t, to("status", "nobody")...)
	require.Equal(t, 1, o.status)

	watch.out.await(t, "vm-1 drain c1: succeeded")
	watch.out.await(t, "c2: canceled")
	require.Zero(t, watch.interrupt(), "that is how one ends a watch")
	require.Zero(t, agent.interrupt(), agent.log)
	require.Zero(t, ctl.interrupt(), ctl.log)
	require.NotContains(t, ctl.log.String()+agent.log.String()+watch.out.String(), "s3cr3t")
}

func TestAgentOutlivesController(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	ctl, url := startController(t, "--data", dir)
	agent := start(t, "agent", "--vm", "vm-1", "--controller", url)
	agent.log.await(t, "linked")
	ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "60s")
	ctl.kill()
	agent.log.await(t, "link lost")
	start(t, "controller", "--listen", strings.TrimPrefix(url, "http://"), "--data", dir)
	ok(t, "send", "vm-1", "drain", "--controller", url, "--wait", "60s")
}

func TestDemo(t *testing.T) {
	t.Parallel()
	out := ok(t, "demo", "--rounds", "4")
	require.Contains(t, out, "Nothing was lost, and nothing ran twice.")
	for _, transport := range []string{"ws", "sse", "longpoll", "grpc", "nats"} {
		require.Regexp(t, transport+` +│ +20 │ +20 │ +1 │ +1 │ +0 │ +0 │`, out)
	}
}

func TestDemoInterrupted(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("TMPDIR", dir)
	p := start(t, "demo", "--rounds", "100000")
	require.Equal(t, 130, p.interrupt(), p.log)
	require.Contains(t, p.log.String(), "interrupted")
	left, err := os.ReadDir(dir)
	require.NoError(t, err)
	require.Empty(t, left)
}
