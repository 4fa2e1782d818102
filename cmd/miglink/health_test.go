package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
)

// get is the status and the text of an answer.
func get(t *testing.T, url string) string {
	t.Helper()
	return getAs(t, url, "")
}

// getAs shows a token.
func getAs(t *testing.T, url, token string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	require.NoError(t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	require.NoError(t, err)
	return fmt.Sprint(answer.StatusCode, " ", strings.TrimSpace(string(b)))
}

func eventually(t *testing.T, url, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return get(t, url) == want }, 2*time.Minute, 10*time.Millisecond, "%s: not %s", url, want)
}

// natsAt runs a NATS server; port 0 is any.
func natsAt(t *testing.T, port int) *server.Server {
	t.Helper()
	if port == 0 {
		port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(readyTime))
	return s
}

// An issuer of tokens that is away when a controller starts is not there for those that show its tokens, and is asked again.
func TestIssuerAway(t *testing.T) {
	t.Parallel()
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := closed.Addr().String()
	closed.Close()
	ctl, at := startController(t, "--keys", newKeys(t), "--oidc-issuer", "http://"+address, "--oidc-audience", "x")
	ctl.log.await(t, "have to wait until it answers")
	require.Equal(t, "200 degraded", get(t, at+"/readyz"))
	require.Equal(t, "503 away", get(t, at+"/readyz/oidc"))
	token := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(token, []byte("eyJhbGciOiJFUzI1NiJ9.e30.e30"), 0o600))
	agent := start(t, "agent", "--vm", "vm-1", "--controller", at, "--transport", "ws", "--token-file", token)
	agent.log.await(t, "the issuer of the token does not answer")

	again, err := net.Listen("tcp", address)
	require.NoError(t, err)
	issuer := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"issuer":"http://%s","jwks_uri":"http://%[1]s/keys"}`, address)
	})}
	go issuer.Serve(again)
	t.Cleanup(func() { issuer.Close() })
	eventually(t, at+"/readyz", "200 ok")
	agent.log.await(t, "unauthorized")
}

// A broker that is away when a controller starts, or later, is not there for its agents; all others are served, and the
// controller stays among those that a load balancer sends to.
func TestOneBrokerAway(t *testing.T) {
	t.Parallel()
	s := natsAt(t, 0)
	port, url := s.Addr().(*net.TCPAddr).Port, s.ClientURL()
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	stop()
	ctl, at := startController(t, "--nats", url)
	ctl.log.await(t, "cannot connect to the broker")
	require.Equal(t, "200 degraded", get(t, at+"/readyz"))
	require.Equal(t, "503 away", get(t, at+"/readyz/nats"))
	require.Equal(t, "200 ok", get(t, at+"/readyz/ledger"))
	require.Contains(t, get(t, at+"/readyz/redis"), "404 ")
	require.Regexp(t, `(?s)^200 ledger: ok\nnats: ".*connection refused"\ndegraded$`, get(t, at+"/readyz?verbose"))
	require.Equal(t, "200 ok", get(t, at+"/livez"))
	require.Equal(t, "200 ok", get(t, at+"/healthz"))
	byHTTP := start(t, "agent", "--vm", "vm-1", "--transport", "ws", "--controller", at)
	byHTTP.log.await(t, "linked")
	ok(t, "send", "vm-1", "drain", "--controller", at, "--wait", "60s")

	byBroker := start(t, "agent", "--vm", "vm-2", "--transport", "nats", "--broker", url)
	for range 2 {
		s = natsAt(t, port)
		eventually(t, at+"/readyz", "200 ok")
		require.Equal(t, "200 ok", get(t, at+"/readyz/nats"))
		ok(t, "send", "vm-2", "drain", "--controller", at, "--wait", "90s")
		stop()
		eventually(t, at+"/readyz", "200 degraded")
		ctl.log.await(t, "the connection to the broker was lost")
		ok(t, "send", "vm-1", "drain", "--controller", at, "--wait", "60s")
	}
	require.Zero(t, byBroker.interrupt(), byBroker.log)
	require.Zero(t, ctl.interrupt(), ctl.log)
}

// A broker that accepts and says nothing does not keep HTTP agents out either.
func TestBrokerThatHangs(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	address := l.Addr().String()
	ctl, at := startController(t, "--nats", "nats://"+address, "--redis", "redis://"+address, "--amqp", "amqp://"+address)
	require.Equal(t, "200 degraded", get(t, at+"/readyz"))
	for _, name := range []string{"nats", "redis", "rabbitmq"} {
		require.Equal(t, "503 away", get(t, at+"/readyz/"+name))
	}
	require.Zero(t, ctl.interrupt(), ctl.log)
}

// A mistake in a broker's URL is one, and no broker that is away.
func TestBrokerMistakes(t *testing.T) {
	t.Parallel()
	for flag, url := range map[string]string{"nats": "http://x", "redis": "x", "amqp": "x", "gcppubsub": "x"} {
		o := miglink(t, "controller", "--data", t.TempDir(), "--listen", "127.0.0.1:0", "--"+flag, url)
		require.Equal(t, 2, o.status, flag)
		require.Contains(t, o.errors, "--"+flag+": ")
	}
}

// A controller that stands by answers before it has the ledger: it lives, and takes nothing yet.
func TestStandbyAnswers(t *testing.T) {
	t.Parallel()
	data := t.TempDir()
	first, firstURL := startController(t, "--data", data)
	at := "http://" + freeAddress(t)
	second := start(t, "controller", "--data", data, "--listen", strings.TrimPrefix(at, "http://"), "--standby")
	require.Contains(t, second.first, "waiting for its end")
	require.Equal(t, "200 ok", get(t, at+"/livez"))
	require.Equal(t, "503 standby", get(t, at+"/readyz"))
	require.Equal(t, "503 away", get(t, at+"/readyz/ledger"))
	require.Equal(t, "503 ledger: \"standby: it is not open\"\nstandby", get(t, at+"/readyz?verbose"))
	require.Regexp(t, `^503 .*"code":"unavailable"`, get(t, at+"/api/v1/vms/vm-1/commands"))
	require.Regexp(t, `^503 .*"code":"unavailable"`, get(t, at+"/admin/v1/vms"))
	require.Equal(t, "200 ok", get(t, firstURL+"/readyz"))
	// One more, at the address of the first: it waits for that, too.
	third := start(t, "controller", "--data", data, "--listen", strings.TrimPrefix(firstURL, "http://"), "--standby", "--drain", "0s")
	require.Contains(t, third.first, "waiting for its end")
	first.kill()
	second.kill()
	third.out.await(t, firstURL)
	require.Equal(t, "200 ok", get(t, firstURL+"/readyz"))
	require.Zero(t, third.interrupt(), third.log)
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// A controller that is stopping says so while its links end.
func TestDrainingAnswers(t *testing.T) {
	t.Parallel()
	ctl, at := startController(t, "--drain", "3s")
	byHTTP := start(t, "agent", "--vm", "vm-1", "--transport", "ws", "--controller", at)
	byHTTP.log.await(t, "linked")
	ended := make(chan int, 1)
	go func() { ended <- ctl.interrupt() }()
	ctl.log.await(t, "stopping")
	// As long as there is a link. One that ends at once leaves nothing to ask.
	if r, err := http.Get(at + "/readyz"); err == nil {
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		require.NoError(t, err)
		require.Equal(t, "draining\n", string(b))
		require.Equal(t, http.StatusServiceUnavailable, r.StatusCode)
	}
	require.Zero(t, <-ended, ctl.log)
}

// What is one word for everybody has its reasons for operators only.
func TestVerboseTakesAGrant(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	keys := filepath.Join(dir, "keys")
	ok(t, "token", "--keys", keys, "--new-key")
	token := func(grant string) string {
		return strings.TrimSpace(ok(t, "token", "--keys", keys, "--operator", "ann", "--grant", grant))
	}
	ctl := start(t, "controller", "--data", filepath.Join(dir, "data"), "--listen", "0.0.0.0:0", "--keys", keys, "--insecure", "--drain", "0s")
	at := "http://127.0.0.1:" + regexp.MustCompile(`:(\d+),`).FindStringSubmatch(ctl.first)[1]
	require.Equal(t, "200 ok", get(t, at+"/readyz"))
	require.Equal(t, "200 ok", get(t, at+"/readyz/ledger"))
	require.Contains(t, get(t, at+"/readyz?verbose"), "401 ")
	require.Contains(t, getAs(t, at+"/readyz?verbose", token("send")), "403 ")
	require.Contains(t, getAs(t, at+"/readyz?verbose", token("read@vm-1")), "403 ")
	require.Equal(t, "200 ledger: ok\nok", getAs(t, at+"/readyz?verbose", token("read")))
	require.Zero(t, ctl.interrupt(), ctl.log)
	require.NoError(t, os.RemoveAll(keys))
}

// Where nobody is asked, details are not for a page whose name leads here.
func TestVerboseForAnotherHost(t *testing.T) {
	t.Parallel()
	h := newHealth([]string{"nats"}).routes(nil, false, nil)["/readyz"]
	ask := func(host string) int {
		w := httptest.NewRecorder()
		r := httptest.NewRequest(http.MethodGet, "/readyz?verbose", nil)
		r.Host = host
		h.ServeHTTP(w, r)
		return w.Code
	}
	require.Equal(t, http.StatusForbidden, ask("evil.example"))
	require.Equal(t, http.StatusServiceUnavailable, ask("127.0.0.1:8080"), "it is starting")
}

// The words, and what a load balancer makes of them.
func TestHealth(t *testing.T) {
	t.Parallel()
	ctl := controller.New(memory.New(), controller.Options{})
	h := newHealth([]string{"nats", "redis"})
	says := func(want string, ok bool) {
		t.Helper()
		word, is := h.summary()
		require.Equal(t, want, word)
		require.Equal(t, ok, is)
	}
	says("starting", false)
	h.is(standby)
	says("standby", false)
	h.has(ctl)
	h.is(serving)
	says("degraded", true)
	var away error
	h.at("nats", func() error { return nil })
	h.at("redis", func() error { return away })
	says("ok", true)
	away = errors.New("refused")
	says("degraded", true)
	require.NoError(t, ctl.Close())
	says("ledger", false)
	h.is(draining)
	says("draining", false)
}
