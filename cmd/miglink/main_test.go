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
	p, first := launch(t, args...)
	select {
	case p.first = <-first:
	case <-time.After(patience):
		require.Fail(t, "the process prints nothing", p.log.String())
	}
	return p
}

// startQuiet is start for what prints nothing, or not at once.
func startQuiet(t *testing.T, args ...string) *process {
	t.Helper()
	p, _ := launch(t, args...)
	return p
}

func launch(t *testing.T, args ...string) (*process, <-chan string) {
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
	return p, first
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
	syscall.ForkLock.RLock() // a process that is forked meanwhile would have the file open, and one that is written does not start
	defer syscall.ForkLock.RUnlock()
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

	lines := func(text string) string {
		name := filepath.Join(t.TempDir(), "lines")
		require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
		return name
	}

	for name, c := range map[string]struct {
		args   []string
		status int
		want   string
	}{
		"file, unknown field":    {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","tll":"1s"}`)}, 2, `line 1: there is no field "tll", did you mean "ttl"?`},
		"file, expires_at":       {[]string{"send", "--file", lines("\n" + `{"vm_id":"vm","type":"drain","expires_at":"2030-01-01T00:00:00Z"}`)}, 2, `line 2: there is no field "expires_at"`},
		"file, parameter":        {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","parameter":{}}`)}, 2, `did you mean "parameters"?`},
		"file, other case":       {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","ID":"c"}`)}, 2, `did you mean "id"?`},
		"file, field twice":      {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","ttl":"1s","ttl":"2s"}`)}, 2, `"ttl" is there twice`},
		"file, two on a line":    {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain"} {"vm_id":"vm","type":"drain"}`)}, 2, "something follows"},
		"file, half a character": {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","id":"\ud800"}`)}, 2, "half a surrogate pair"},
		"file, ID twice":         {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","id":"c"}` + "\n" + `{"vm_id":"vm-2","type":"drain","id":"c"}`)}, 2, "line 2: it has the ID of line 1"},
		"file and params":        {[]string{"send", "--file", "x", "--params", "{}"}, 2, "--params is for one command, and would be ignored"},
		"file and TTL":           {[]string{"send", "--file", "x", "--ttl", "1s"}, 2, "--ttl is for one command"},
		"file and run timeout":   {[]string{"send", "--file", "x", "--run-timeout", "1m"}, 2, "--run-timeout is for one command"},
		"file, run too long":     {[]string{"send", "--file", lines(`{"vm_id":"vm","type":"drain","run_timeout":"200h"}`)}, 2, "line 1: invalid command: run_timeout is 200h0m0s"},
		"run timeout too short":  {[]string{"send", "vm", "drain", "--run-timeout", "5ms"}, 2, "run_timeout is 5ms, 1s to 168h0m0s are allowed"},
		"file and ID":            {[]string{"send", "--file", "x", "--id", "c"}, 2, "--id is for one command"},
		"file and key":           {[]string{"send", "--file", "x", "--key", "k"}, 2, "--key is for one command"},
		"file and supersede":     {[]string{"send", "--file", "x", "--supersede", "k"}, 2, "--supersede is for one command"},
		"file and urgent":        {[]string{"send", "--file", "x", "--urgent"}, 2, "--urgent is for one command"},
		"bad port":               {[]string{"agent", "--vm", "x", "--controller", "http://127.0.0.1:99999"}, 2, "the port 99999 of http://127.0.0.1 is none: 1 to 65535 are"},
		"port of nothing":        {[]string{"agent", "--vm", "x", "--transport", "ws", "--controller", "http://127.0.0.1:0"}, 2, "the port 0"},
		"bad port of a broker":   {[]string{"agent", "--vm", "x", "--transport", "redis", "--broker", "redis://127.0.0.1:99999"}, 2, "the port 99999"},
		"bad port of brokers":    {[]string{"agent", "--vm", "x", "--transport", "nats", "--broker", "nats://127.0.0.1,nats://127.0.0.1:99999"}, 2, "99999"},
		"bad port, operator":     {[]string{"fleet", "--controller", "http://127.0.0.1:99999"}, 2, "the port 99999"},
		"not a URL, as given":    {[]string{"fleet", "--controller", "foo"}, 2, `--controller: the controller's URL "foo" is neither`},
		"no broker's URL":        {[]string{"controller", "--data", t.TempDir(), "--nats", "foo"}, 2, "--nats: "},
		"no broker's URL, amqp":  {[]string{"controller", "--data", t.TempDir(), "--amqp", "http://x"}, 2, "--amqp: "},
		"ledger below a file":    {[]string{"controller", "--listen", "127.0.0.1:0", "--data", lines("x") + "/data"}, 2, "lines"},
		"limit of the fleet":     {[]string{"status", "--limit", "3"}, 2, "--limit is for the commands of a VM"},
		"limit of nothing":       {[]string{"status", "vm", "--limit", "0"}, 2, "--limit is less than 1"},
		"life of a key":          {[]string{"token", "--keys", filepath.Join(t.TempDir(), "keys"), "--new-key", "--ttl", "1h"}, 2, "--ttl is for a token"},
		"no command":             {nil, 2, "expected one of"},
		"unknown command":        {[]string{"frobnicate"}, 2, "unexpected argument frobnicate"},
		"no broker":              {[]string{"agent", "--vm", "x", "--transport", "nats"}, 2, "the broker's URL is not given"},
		"auto, bad broker":       {[]string{"agent", "--vm", "x", "--broker", "pigeon://x"}, 2, "the broker's URL is to be like"},
		"another's broker":       {[]string{"agent", "--vm", "x", "--transport", "redis", "--broker", "nats://x"}, 2, "redis://host:6379"},
		"demo, redis by name":    {[]string{"demo", "--transports", "redis"}, 2, "--redis URL"},
		"demo, bad redis":        {[]string{"demo", "--redis", "x"}, 2, "redis://host:6379"},
		"bad pubsub":             {[]string{"agent", "--vm", "x", "--transport", "gcppubsub", "--broker", "x"}, 2, "gcppubsub://PROJECT"},
		"bench of nothing":       {[]string{"bench", "--transports", "pigeon"}, 2, "no transport"},
		"bench onto nothing":     {[]string{"bench", "--html", "/does/not/exist"}, 2, "/does/not/exist"},
		"bench without a server": {[]string{"bench", "--transports", "redis"}, 2, "URL of a server"},
		"negative heartbeat":     {[]string{"agent", "--vm", "x", "--heartbeat=-1s"}, 2, "--heartbeat is negative"},
		"negative wait":          {[]string{"send", "vm", "drain", "--wait=-1s"}, 2, "--wait is negative"},
		"negative wait, cancel":  {[]string{"cancel", "c-1", "--wait=-1s"}, 2, "--wait is negative"},
		"negative drain":         {[]string{"controller", "--data", t.TempDir(), "--drain=-1s"}, 2, "--drain is negative"},
		"no window":              {[]string{"controller", "--data", t.TempDir(), "--window=0"}, 2, "--window is less than 1"},
		"watch no VM":            {[]string{"watch", ".."}, 2, `".."`},
		"status of no name":      {[]string{"status", "..", "--controller", dead}, 2, `".." names no VM and no command`},
		"config without end":     {[]string{"controller", "--config", "/dev/zero"}, 2, "/dev/zero has more than 1048576 bytes"},
		"too short a keepalive":  {[]string{"controller", "--data", t.TempDir(), "--keepalive", "1ms"}, 2, "--keepalive is 1ms, less than any network takes; at least 100ms is needed"},
		"too short a deadline":   {[]string{"controller", "--data", t.TempDir(), "--ack-deadline", "1ns"}, 2, "--ack-deadline is 1ns"},
		"negative keepalive":     {[]string{"controller", "--data", t.TempDir(), "--keepalive=-1s"}, 2, "--keepalive is negative"},
		"bad broker":             {[]string{"agent", "--vm", "x", "--transport", "nats", "--broker", "x"}, 2, "nats://host:4222"},
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
		"exec of negative time":  {[]string{"agent", "--vm", "vm", "--exec-grace=-1s"}, 2, "--exec-grace is negative"},
		"run of no type":         {[]string{"agent", "--vm", "vm", "--run-timeout", "x=1m"}, 2, "--run-timeout x: the agent has no handler"},
		"run of no time":         {[]string{"agent", "--vm", "vm", "--run-timeout", "drain=0s"}, 2, "--run-timeout drain is 0"},
		"run too short":          {[]string{"agent", "--vm", "vm", "--run-timeout", "drain=1ms"}, 2, "run_timeout is 1ms, 1s to 168h0m0s"},
		"public address":         {[]string{"controller", "--listen", ":0", "--data", t.TempDir()}, 2, "--insecure"},
		"public, agents asked":   {[]string{"controller", "--listen", ":0", "--data", t.TempDir(), "--broker-users", "--amqp", "amqp://x"}, 2, "operators are not: give --keys"},
		"keys of nobody":         {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--keys", t.TempDir()}, 2, "no key"},
		"no directory of keys":   {[]string{"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--keys", "/does/not/exist"}, 2, "/does/not/exist"},
		"issuer, no audience":    {[]string{"controller", "--oidc-issuer", "https://x"}, 2, "--oidc-audience"},
		"issuer not a URL":       {[]string{"controller", "--keys", keys, "--listen", "127.0.0.1:0", "--oidc-issuer", "x", "--oidc-audience", "x"}, 2, "https://issuer"},
		"any project's issuer":   {[]string{"controller", "--keys", keys, "--listen", "127.0.0.1:0", "--oidc-issuer", "https://accounts.google.com", "--oidc-audience", "x"}, 2, "project_id is mandatory"},
		"require of no issuer":   {[]string{"controller", "--oidc-require", "a=b"}, 2, "--oidc-issuer"},
		"authority without TLS":  {[]string{"controller", "--client-ca", "x"}, 2, "--tls-cert"},
		"no clients' authority":  {[]string{"controller", "--keys", keys, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--client-ca", "/does/not/exist", "--tls-cert", pair.Cert, "--tls-key", pair.Key}, 2, "/does/not/exist"},
		"no authority in it":     {[]string{"controller", "--keys", keys, "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--client-ca", badLine, "--tls-cert", pair.Cert, "--tls-key", pair.Key}, 2, "no PEM certificate"},
		"only VMs, by users":     {[]string{"controller", "--insecure", "--broker-users", "--amqp", "amqp://x"}, 2, "give --keys"},
		"only VMs, by issuer":    {[]string{"controller", "--oidc-issuer", "https://x", "--oidc-audience", "x"}, 2, "give --keys"},
		"only VMs, by authority": {[]string{"controller", "--insecure", "--client-ca", badLine, "--tls-cert", pair.Cert, "--tls-key", pair.Key}, 2, "give --keys"},
		"party of no issuer":     {[]string{"controller", "--oidc-azp", "x"}, 2, "--oidc-issuer"},
		"life of no issuer":      {[]string{"controller", "--oidc-max-life", "1h"}, 2, "--oidc-issuer"},
		"life of no time":        {[]string{"controller", "--oidc-issuer", "https://x", "--oidc-audience", "x", "--oidc-max-life", "0s"}, 2, "--oidc-max-life"},
		"users of no broker":     {[]string{"controller", "--broker-users"}, 2, "--amqp"},
		"token of nothing":       {[]string{"token", "--keys", keys}, 2, "one of --vm"},
		"watch of no VM":         {[]string{"watch", ""}, 2, "[<vm>] is empty"},
		"status of nothing":      {[]string{"status", ""}, 2, "[<what>] is empty"},
		"cancel of nothing":      {[]string{"cancel", ""}, 2, "<id> is empty"},
		"send to no VM":          {[]string{"send", "", "drain"}, 2, "[<vm>] is empty"},
		"send of no ID":          {[]string{"send", "vm", "drain", "--id", ""}, 2, "--id is empty"},
		"send of no key":         {[]string{"send", "vm", "drain", "--key="}, 2, "--key is empty"},
		"negative retry":         {[]string{"send", "vm", "drain", "--retry=-1s"}, 2, "--retry is negative"},
		"token without keys":     {[]string{"token", "--vm", "vm"}, 2, "--keys"},
		"token of no key":        {[]string{"token", "--keys", t.TempDir(), "--vm", "vm"}, 2, "--new-key makes one"},
		"token, bad VM":          {[]string{"token", "--keys", keys, "--vm", ".."}, 2, "vm_id"},
		"token, bad pattern":     {[]string{"token", "--keys", keys, "--vms", "["}, 2, "no pattern"},
		"token of two kinds":     {[]string{"token", "--keys", keys, "--vm", "vm", "--operator", "ann", "--grant", "x"}, 2, "not both"},
		"token, one and many":    {[]string{"token", "--keys", keys, "--vm", "vm", "--vms", "*"}, 2, "--vms"},
		"operator of nothing":    {[]string{"token", "--keys", keys, "--operator", "ann"}, 2, "--grant"},
		"grant to a VM":          {[]string{"token", "--keys", keys, "--vm", "vm", "--grant", "x"}, 2, "--operator"},
		"token file, no token":   {[]string{"token", "--keys", keys, "--new-key", "--out", "x"}, 2, "--out"},
		"token file, nowhere":    {[]string{"token", "--keys", keys, "--vm", "vm", "--out", "/does/not/exist/x"}, 2, "/does/not/exist"},
		"token of no time":       {[]string{"token", "--keys", keys, "--vm", "vm", "--ttl", "0s"}, 2, "--ttl"},
		"no token file":          {[]string{"agent", "--vm", "vm", "--token-file", "/does/not/exist"}, 2, "/does/not/exist"},
		"no token in the file":   {[]string{"agent", "--vm", "vm", "--token-file", badLine}, 2, "commands.jsonl"},
		"two tokens":             {[]string{"agent", "--vm", "vm", "--token-file", "x", "--gce-audience", "x"}, 2, "only one"},
		"a token as a flag":      {[]string{"agent", "--vm", "vm", "--token", "x"}, 2, "unknown flag --token"},
		"no address":             {[]string{"controller", "--listen", "here", "--data", t.TempDir()}, 2, "--listen"},
		"address in use":         {[]string{"controller", "--listen", taken, "--data", t.TempDir()}, 10, "in use"},
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
	require.Equal(t, 9, o.status)
	o = miglink(t, to("cancel", "c1")...)
	require.Equal(t, 1, o.status)
	require.Contains(t, o.errors, "c1 has ended, and was not canceled: succeeded")
	ok(t, to("cancel", "c2")...)

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

	require.Contains(t, ok(t, to("status", "vm-1")...), "vm-1, the latest commands: 20")
	require.Contains(t, ok(t, to("status")...), "online")
	var fleet []map[string]any
	require.NoError(t, json.Unmarshal([]byte(ok(t, to("fleet", "--output", "json")...)), &fleet))
	require.Len(t, fleet, 1)
	require.Equal(t, "ws", fleet[0]["transport"])
	o = miglink(t, to("status", "nobody")...)
	require.Equal(t, 9, o.status)

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
	require.Contains(t, out, "Left out: gcppubsub (--gcppubsub URL), rabbitmq (--amqp URL), redis (--redis URL).")
	for _, transport := range []string{"ws", "sse", "longpoll", "grpc", "nats"} {
		require.Regexp(t, transport+` +20 +20 +1 +1 +0 +0 +`, out)
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
