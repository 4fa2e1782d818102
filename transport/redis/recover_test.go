package redis_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// Credentials that are refused for a while, or changed, cost that while; and so does a server that has forgotten them.
func TestCredentialsRefusedAndRotated(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	user := func(password string) func() {
		return func() {
			require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "u", "reset", "on", ">"+password, "~*", "&*", "+@all").Err())
		}
	}
	gone := func() { require.NoError(t, admin.Do(t.Context(), "ACL", "DELUSER", "u").Err()) }
	user("first")()
	var password atomic.Value
	password.Store("first")
	var tries atomic.Int64
	current := func(o *redisgo.Options) {
		o.CredentialsProvider = func() (string, string) { return "u", password.Load().(string) }
	}
	c := brokertest.Controller(t)
	url := "redis://" + s.Addr
	l := listen(t, url, c, redis.ListenOptions{Redis: func(o *redisgo.Options) {
		current(o)
		o.Dialer = func(ctx context.Context, network, addr string) (net.Conn, error) {
			tries.Add(1)
			return (&net.Dialer{}).DialContext(ctx, network, addr)
		}
	}})
	tr, err := redis.New(url, redis.Options{Redis: current})
	require.NoError(t, err)
	t.Run("refused and restored", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, gone, user("first"))
	})
	t.Run("rotated", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, func() { gone(); user("second")() }, func() { password.Store("second") })
	})
	t.Run("killed, and started without its users", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, func() { s.Kill(); s.Start() }, user("second"))
	})
}

// A server that is away at the start is waited for, where the caller wants that.
func TestServerAwayAtStart(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	s.Kill()
	c := brokertest.Controller(t)
	l := listen(t, "redis://"+s.Addr, c, redis.ListenOptions{RetryOnFailedConnect: true})
	require.ErrorContains(t, l.Ready(), "connection refused")
	a := brokertest.Run(t, open(t, "redis://"+s.Addr))
	r := brokertest.Send(t, c, command.Drain{})
	s.Start()
	brokertest.AwaitReady(t, l)
	brokertest.Succeed(t, r)
	a.Stop(1)
}

// A controller that starts says so, and agents of one that has died come to it, long before they would miss it.
func TestStartedIsHeard(t *testing.T) {
	t.Parallel()
	s, _ := start(t)
	brokertest.Started(t, s.Addr, func(addr string, to transport.Transport) (brokertest.Listener, error) {
		return redis.Listen(t.Context(), "redis://"+addr, to, redis.ListenOptions{Keepalive: brokertest.Silent})
	}, open(t, "redis://"+s.Addr))
}

// Who may neither hear nor say it links all the same.
func TestStartedMayBeForbidden(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	require.NoError(t, admin.Do(t.Context(), "ACL", "SETUSER", "u", "reset", "on", ">x", "~*", "resetchannels", "&miglink:hello:*", "&miglink:down:*", "&miglink:up:*", "+@all").Err())
	url := "redis://u:x@" + s.Addr
	c := brokertest.Controller(t)
	l := listen(t, url, c, redis.ListenOptions{})
	a := brokertest.Run(t, open(t, url))
	for range 3 {
		brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	}
	require.NoError(t, l.Ready())
	a.Stop(3)
}
