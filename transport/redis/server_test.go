package redis_test

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// start starts a Redis server.
func start(t *testing.T) (*brokertest.Process, *redisgo.Client) {
	t.Helper()
	needs.Program(t, "redis-server")
	addr := brokertest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	dir := t.TempDir()
	p := brokertest.Start(t, addr, func() *exec.Cmd {
		return exec.CommandContext(t.Context(), "redis-server", "--bind", "127.0.0.1", "--port", port, "--save", "", "--appendonly", "no", "--dir", dir)
	})
	admin := redisgo.NewClient(&redisgo.Options{Addr: addr})
	t.Cleanup(func() { admin.Close() })
	return p, admin
}

// The whole suite, which counts goroutines and so runs by itself, on the server that MIGLINK_TEST_REDIS names.
func TestConformance(t *testing.T) {
	url := os.Getenv("MIGLINK_TEST_REDIS")
	if url == "" {
		url = "redis://127.0.0.1:6379"
	}
	l, err := redis.Listen(t.Context(), url, brokertest.Controller(t), redis.ListenOptions{})
	needs.Machine(t, err, "no Redis server at "+url)
	require.NoError(t, l.Close())
	conformance.Test(t, subjects.RedisAt(url))
}

// Scenario 79: the server dies in the middle, and comes back; nothing is lost or run twice.
func TestServerRestart(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	c := brokertest.Controller(t)
	listen(t, "redis://"+s.Addr, c, redis.ListenOptions{})
	brokertest.Survive(t, c, open(t, "redis://"+s.Addr), 3, func() {
		s.Kill()
		s.Start()
	})
}

// Scenario 82: an operator's CLIENT KILL of the connections that subscribe, and of those that publish.
func TestClientKill(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"pubsub", "normal"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			s, admin := start(t)
			c := brokertest.Controller(t)
			listen(t, "redis://"+s.Addr, c, redis.ListenOptions{})
			brokertest.Survive(t, c, open(t, "redis://"+s.Addr), 5, func() {
				require.Eventually(t, func() bool {
					n, err := admin.ClientKillByFilter(t.Context(), "TYPE", kind, "SKIPME", "yes").Result()
					return err == nil && n > 0
				}, 20*time.Second, time.Millisecond)
			})
		})
	}
}

// Scenario 80: a server that cuts off a slow consumer, and drops what it has for it, costs a redial and
// nothing else.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	require.NoError(t, admin.ConfigSet(t.Context(), "client-output-buffer-limit", "pubsub 256mb 1mb 1").Err())
	c := brokertest.Controller(t)
	listen(t, "redis://"+s.Addr, c, redis.ListenOptions{})
	slow := stalling{stop: make(chan struct{}), goOn: make(chan struct{})}
	tr, err := redis.New("redis://"+s.Addr, redis.Options{Redis: func(o *redisgo.Options) { o.Dialer = slow.dial }})
	require.NoError(t, err)
	a := brokertest.Run(t, tr)
	brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	close(slow.stop)
	var rs []*controller.Receipt
	for subscribed(t, admin) { // the network between holds some megabytes
		rs = append(rs, brokertest.Send(t, c, command.Drain{Reason: strings.Repeat("x", 200_000)}))
		time.Sleep(10 * time.Millisecond)
	}
	close(slow.goOn)
	brokertest.Succeed(t, rs...)
	a.Stop(len(rs) + 1)
}

// subscribed says whether the agent's connection that subscribes is still there.
func subscribed(t *testing.T, admin *redisgo.Client) bool {
	t.Helper()
	list, err := admin.Do(t.Context(), "CLIENT", "LIST", "TYPE", "pubsub").Text()
	require.NoError(t, err)
	return strings.Contains(list, "miglink-agent-vm-1")
}

// What an agent and a controller need, as the package's documentation has it, is enough; less is said.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	set := func(rule string) { require.NoError(t, do(t, admin, rule)) }
	setUsers(t, admin)
	as := func(user string) string { return "redis://" + user + ":PASSWORD@" + s.Addr }
	c := brokertest.Controller(t)
	listen(t, as("controller"), c, redis.ListenOptions{})
	l, err := brokertest.Dial(t, open(t, as("vm-1")))
	require.NoError(t, err)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	_, err = open(t, as("vm-1")).Dial(t.Context(), transport.Hello{VM: "vm-2"})
	require.ErrorContains(t, err, "NOPERM")

	for _, missing := range []struct{ user, rule string }{
		{"vm-1", "&miglink:up:vm-1:* &miglink:down:vm-1:*"},
		{"vm-1", "&miglink:up:vm-1:* &miglink:hello:vm-1:*"},
	} {
		set("ACL SETUSER " + missing.user + " resetchannels " + missing.rule)
		_, err := brokertest.Dial(t, open(t, as(missing.user)))
		require.ErrorContains(t, err, "NOPERM", missing.rule)
	}
	for _, missing := range []string{
		"resetchannels &miglink:down:* &miglink:up:*",
		"resetchannels &miglink:hello:* &miglink:down:*",
		"resetchannels &miglink:hello:* &miglink:up:*",
		"allchannels resetkeys",
		"allchannels ~* -set",
	} {
		set("ACL SETUSER controller " + missing)
		_, err := redis.Listen(t.Context(), as("controller"), c, redis.ListenOptions{})
		require.ErrorContains(t, err, "NOPERM", missing)
	}
}

// A server that answers nothing does not hold a dial longer than its context allows.
func TestDialIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr := open(t, "redis://"+l.Addr().String())
	held := make(chan error, 1)
	go func() {
		_, err := tr.Dial(t.Context(), transport.Hello{VM: "vm-1"})
		held <- err
	}()
	c, err := l.Accept()
	require.NoError(t, err)
	defer c.Close()
	select {
	case err := <-held:
		require.Error(t, err)
	case <-time.After(time.Minute):
		t.Fatal("a dial of a server that says nothing does not end")
	}
}
