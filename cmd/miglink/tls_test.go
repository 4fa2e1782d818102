package main

import (
	"crypto/tls"
	"crypto/x509"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/tlsfile"
)

// startSecure starts a controller that speaks TLS, and returns its address.
func startSecure(t *testing.T, f certtest.Files, args ...string) string {
	t.Helper()
	p := start(t, append([]string{
		"controller", "--listen", "127.0.0.1:0", "--data", t.TempDir(), "--drain", "0s", "--tls-cert", f.Cert, "--tls-key", f.Key,
	}, args...)...)
	_, after, found := strings.Cut(p.first, "https://")
	require.True(t, found, "%s%s", p.first, p.log)
	address, _, _ := strings.Cut(after, ",")
	return address
}

// presents waits until the server at addr has a certificate of an authority.
func presents(t *testing.T, addr string, authorities *x509.CertPool) {
	t.Helper()
	require.Eventually(t, func() bool {
		c, err := tls.Dial("tcp", addr, &tls.Config{RootCAs: authorities})
		if err == nil {
			c.Close()
		}
		return err == nil
	}, patience, 20*time.Millisecond)
}

// The certificate of a controller and the authority of it are replaced while agents live. Their links are cut,
// and the next are of the new ones; nothing is lost, and nothing runs twice.
func TestCertificatesReplaced(t *testing.T) {
	t.Parallel()
	ca, files := certtest.NewAuthority(t), certtest.NewFiles(t)
	files.Write(ca.Server(t, "127.0.0.1"), ca)
	addr := startSecure(t, files)
	to := func(args ...string) []string { return append(args, "--controller", "https://"+addr, "--ca", files.CA) }
	transports := []string{"ws", "sse", "longpoll", "grpc"}
	ways, records, logs := map[string]*fault.Proxy{}, map[string]string{}, map[string]*printed{}
	for _, name := range transports {
		way, err := fault.NewProxy(addr, 1)
		require.NoError(t, err)
		defer way.Close()
		ways[name], records[name] = way, filepath.Join(t.TempDir(), "ran")
		a := start(t, "agent", "--vm", name, "--transport", name, "--controller", "https://"+way.Addr(), "--ca", files.CA,
			"--record", records[name], "--heartbeat", "200ms")
		logs[name] = a.log
		ok(t, to("send", name, "drain", "--wait", "60s")...)
	}
	next := certtest.NewAuthority(t)
	files.Write(next.Server(t, "127.0.0.1"), next)
	presents(t, addr, next.Pool())
	for _, name := range transports {
		ways[name].Reset()
		ok(t, to("send", name, "drain", "--wait", "60s")...)
		logs[name].await(t, "link lost")
		ran, err := os.ReadFile(records[name])
		require.NoError(t, err)
		lines := strings.Split(strings.TrimSpace(string(ran)), "\n")
		require.Len(t, lines, 2, name)
		require.NotEqual(t, lines[0], lines[1], name)
	}

	require.Contains(t, ok(t, to("status", "ws")...), "succeeded")
	watch := start(t, to("watch")...)
	ok(t, to("send", "nobody", "drain", "--id", "c1", "--key", "k")...)
	watch.out.await(t, "c1")
	ok(t, to("cancel", "c1")...)
	o := miglink(t, "fleet", "--controller", "https://"+addr)
	require.Equal(t, 3, o.status)
	require.Contains(t, o.errors, "unknown authority")
}

// Both sides of a broker show it certificates, and verify its own.
func TestBrokerTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	at, agent, ctl := certtest.NewFiles(t), certtest.NewFiles(t), certtest.NewFiles(t)
	at.Write(ca.Server(t, "127.0.0.1"), ca)
	agent.Write(ca.Client(t, "vm-1"), ca)
	ctl.Write(ca.Client(t, "controller"), ca)
	config, err := tlsfile.Server(tlsfile.ServerFiles{Cert: at.Cert, Key: at.Key, ClientCA: at.CA, RequireClient: true})
	require.NoError(t, err)
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, TLS: true, TLSConfig: config, TLSTimeout: 10})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(s.Shutdown)
	require.True(t, s.ReadyForConnections(readyTime))
	broker := (&url.URL{Scheme: "tls", Host: s.Addr().String()}).String()

	_, controller := startController(t, "--nats", broker, "--broker-ca", ctl.CA, "--broker-cert", ctl.Cert, "--broker-key", ctl.Key)
	a := start(t, "agent", "--vm", "vm-1", "--transport", "nats", "--broker", broker, "--ca", agent.CA, "--cert", agent.Cert, "--cert-key", agent.Key)
	a.log.await(t, "linked")
	ok(t, "send", "vm-1", "drain", "--controller", controller, "--wait", "60s")

	without, _ := startController(t, "--nats", broker, "--broker-ca", ctl.CA)
	without.log.await(t, "tls")
	require.NotContains(t, without.log.String(), "connected to the broker")
	without, at2 := startController(t, "--nats", broker)
	without.log.await(t, "unknown authority")
	require.Equal(t, "503 away", get(t, at2+"/readyz/nats"))
}
