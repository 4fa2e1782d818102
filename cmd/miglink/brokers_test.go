package main

import (
	"net"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/alicebob/miniredis/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/needs"
)

// outside is the URL of a broker of this machine, or skips the test.
func outside(t *testing.T, variable, addr, url string) string {
	t.Helper()
	if given := os.Getenv(variable); given != "" {
		return given
	}
	c, err := net.Dial("tcp", addr)
	needs.Machine(t, err, variable+" is not given, and nothing listens on "+addr)
	require.NoError(t, c.Close())
	return url
}

func TestDemoOverBrokersOutside(t *testing.T) {
	t.Parallel()
	redis := outside(t, "MIGLINK_TEST_REDIS", "127.0.0.1:6379", "redis://127.0.0.1:6379")
	amqp := outside(t, "MIGLINK_TEST_AMQP", "127.0.0.1:5672", "amqp://guest:guest@127.0.0.1:5672")
	out := ok(t, "demo", "--rounds", "4", "--transports", "ws", "--redis", redis, "--amqp", amqp)
	require.Contains(t, out, "Nothing was lost, and nothing ran twice.")
	for _, transport := range []string{"ws", "redis", "rabbitmq"} {
		require.Regexp(t, transport+` +20 +20 +1 +1 +0 +0 +`, out)
	}
}

// Google Cloud Pub/Sub is found as its library finds an emulator.
func TestDemoOverPubSub(t *testing.T) {
	s := pstest.NewServer()
	defer s.Close()
	t.Setenv("PUBSUB_EMULATOR_HOST", "")
	o := miglink(t, "demo", "--gcppubsub", "gcppubsub://p")
	require.Equal(t, 2, o.status)
	require.Contains(t, o.errors, "PUBSUB_EMULATOR_HOST")
	t.Setenv("PUBSUB_EMULATOR_HOST", "127.0.0.1:1")
	ctl, url := startController(t, "--gcppubsub", "gcppubsub://p")
	ctl.log.await(t, "connection refused")
	require.Equal(t, "503 away", get(t, url+"/readyz/gcppubsub"))
	require.Zero(t, ctl.interrupt())
	t.Setenv("PUBSUB_EMULATOR_HOST", s.Addr)
	out := ok(t, "demo", "--rounds", "4", "--transports", "ws", "--gcppubsub", "gcppubsub://p")
	require.Contains(t, out, "Nothing was lost, and nothing ran twice.")
	require.Regexp(t, `gcppubsub +20 +20 +1 +1 +0 +0 +`, out)
}

// Credentials of Google's that cannot be found at the start are looked for again, and agents over HTTP do not wait for that.
func TestNoGoogleCredentials(t *testing.T) {
	t.Setenv("PUBSUB_EMULATOR_HOST", "")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing"))
	ctl, url := startController(t, "--gcppubsub", "gcppubsub://p")
	ctl.log.await(t, "cannot connect to the broker")
	require.Equal(t, "200 degraded", get(t, url+"/readyz"))
	require.Equal(t, "503 away", get(t, url+"/readyz/gcppubsub"))
	start(t, "agent", "--vm", "vm-1", "--controller", url, "--transport", "ws").log.await(t, "linked")
	require.Zero(t, ctl.interrupt(), ctl.log)
}

// A controller that waits takes over the ledger and, through the broker, the agents of one that is killed.
func TestStandby(t *testing.T) {
	t.Parallel()
	for name, broker := range map[string]func(t *testing.T) string{
		"nats": func(t *testing.T) string {
			s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
			require.NoError(t, err)
			s.Start()
			t.Cleanup(s.Shutdown)
			require.True(t, s.ReadyForConnections(readyTime))
			return s.ClientURL()
		},
		"redis": func(t *testing.T) string { return "redis://" + miniredis.RunT(t).Addr() },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, data := broker(t), t.TempDir()
			first, firstURL := startController(t, "--data", data, "--keepalive", "300ms", "--"+name, url)
			second := start(t, "controller", "--data", data, "--listen", "127.0.0.1:0", "--standby", "--keepalive", "300ms", "--"+name, url)
			require.Contains(t, second.first, "waiting for its end")
			agent := start(t, "agent", "--vm", "vm-1", "--transport", name, "--broker", url)
			agent.log.await(t, "linked")
			ok(t, "send", "vm-1", "drain", "--controller", firstURL, "--wait", "60s")
			first.kill()
			second.out.await(t, "http://")
			secondURL := regexp.MustCompile(`http://[0-9.:]+`).FindString(second.out.String())
			ok(t, "send", "vm-1", "drain", "--controller", secondURL, "--wait", "90s")
		})
	}
}
