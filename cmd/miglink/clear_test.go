package main

import (
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/certtest"
)

// listening is a port that nobody is to connect to.
func listening(t *testing.T) (port string, connected *atomic.Int64) {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	require.NoError(t, err)
	connected = &atomic.Int64{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			connected.Add(1)
			c.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	_, port, err = net.SplitHostPort(l.Addr().String())
	require.NoError(t, err)
	return port, connected
}

// What would have a token read on the way, or a flag of TLS ignored, is a mistake that the command line names, with what
// to do; nobody is connected to.
func TestNothingIsSilentlyInTheClear(t *testing.T) {
	t.Parallel()
	port, connected := listening(t)
	ca, files := certtest.NewAuthority(t), certtest.NewFiles(t)
	files.Write(ca.Server(t, "127.0.0.1"), ca)
	token, keys := filepath.Join(t.TempDir(), "token"), filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.WriteFile(token, []byte("t0ken"), 0o600))
	ok(t, "token", "--keys", keys, "--new-key")
	// A host that is not of the loopback by its name; what it stands for is not asked.
	far, near := "controller.example.com:"+port, "127.0.0.1:"+port
	agent := func(args ...string) []string { return append([]string{"agent", "--vm", "vm-1"}, args...) }
	controller := func(args ...string) []string {
		return append([]string{"controller", "--data", filepath.Join(t.TempDir(), "data"), "--listen", "127.0.0.1:0"}, args...)
	}
	for _, test := range []struct {
		args []string
		says string
	}{
		{agent("--controller", "http://"+far, "--token-file", token), "to controller.example.com in the clear"},
		{agent("--controller", "http://"+far, "--token-file", token, "--transport", "ws"), "use https://"},
		{agent("--transport", "nats", "--broker", "nats://"+far, "--token-file", token), "use tls://"},
		{agent("--transport", "redis", "--broker", "redis://"+far, "--token-file", token), "use rediss://"},
		{agent("--transport", "rabbitmq", "--broker", "amqp://"+far, "--token-file", token), "use amqps://"},
		{agent("--transport", "nats,redis", "--broker", "redis://"+far, "--token-file", token), "nats://host"},
		{agent("--controller", "http://"+near, "--ca", files.CA), "use https://"},
		{agent("--controller", "http://"+near, "--cert", files.Cert, "--cert-key", files.Key), "use https://"},
		{agent("--controller", "http://"+near, "--ca", files.CA, "--insecure"), "use https://"},
		{agent("--transport", "redis", "--broker", "redis://"+near, "--ca", files.CA), "use rediss://"},
		{agent("--transport", "rabbitmq", "--broker", "amqp://"+near, "--ca", files.CA), "use amqps://"},
		{agent("--transport", "gcppubsub", "--broker", "gcppubsub://p", "--ca", files.CA), "--ca"},
		{[]string{"fleet", "--controller", "http://" + far, "--token-file", token}, "--insecure"},
		{[]string{"send", "vm-1", "drain", "--controller", "http://" + far, "--token-file", token}, "to controller.example.com in the clear"},
		{[]string{"status", "vm-1", "--controller", "http://" + near, "--ca", files.CA}, "use https://"},
		{controller("--redis", "redis://"+near, "--broker-ca", files.CA), "--redis: redis://127.0.0.1 speaks no TLS"},
		{controller("--amqp", "amqp://"+near, "--broker-ca", files.CA), "use amqps://"},
		{controller("--nats", "tls://"+near, "--redis", "redis://"+near, "--broker-ca", files.CA), "use rediss://"},
		{controller("--broker-ca", files.CA), "--broker-ca"},
		{controller("--gcppubsub", "gcppubsub://p", "--broker-cert", files.Cert, "--broker-key", files.Key), "nothing else uses them"},
		{controller("--keys", keys, "--redis", "redis://"+far), "--redis: a token would go to controller.example.com"},
		{controller("--keys", keys, "--nats", "nats://"+far), "use tls://"},
		{controller("--keys", keys, "--amqp", "amqp://"+far), "use amqps://"},
		{controller("--keys", keys, "--listen", "0.0.0.0:0"), "tokens would come there in the clear"},
	} {
		o := miglink(t, test.args...)
		require.Equal(t, exitUsage, o.status, "%v: %s", test.args, o.errors)
		require.Contains(t, o.errors, test.says, "%v", test.args)
		require.NotContains(t, o.errors, "t0ken")
	}
	require.Zero(t, connected.Load(), "somebody was connected to")

	// To this machine, and where somebody says so, a token goes: what fails then is that nobody answers.
	for _, args := range [][]string{
		{"fleet", "--controller", "http://" + near, "--token-file", token},
		{"fleet", "--controller", "http://localhost:" + port, "--token-file", token},
		{"fleet", "--controller", "http://controller.invalid:" + port, "--token-file", token, "--insecure"},
	} {
		o := miglink(t, args...)
		require.Equal(t, exitUnreachable, o.status, "%v: %s", args, o.errors)
	}
	require.Positive(t, connected.Load())
	start(t, controller("--keys", keys, "--listen", "0.0.0.0:0", "--insecure")...)
}
