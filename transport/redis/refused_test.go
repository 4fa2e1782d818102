package redis_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// onlyGood lets those pass whose token is "good".
func onlyGood(refused *atomic.Int64) transport.Authenticator {
	return transport.AuthenticatorFunc(func(_ context.Context, _ string, c transport.Credentials) (transport.Grant, error) {
		if c.Token == "good" {
			return transport.Grant{}, nil
		}
		refused.Add(1)
		return transport.Grant{}, transport.ErrUnauthorized
	})
}

func good(context.Context) (string, error) { return "good", nil }

// hello says a hello as whoever may publish it.
func hello(t *testing.T, c *redisgo.Client, vm, session, frame string) {
	t.Helper()
	require.NoError(t, c.Publish(t.Context(), "miglink:hello:"+vm+":"+session, frame).Err())
}

// Hellos that are refused leave nothing at a server, at any moment: its monitor sees each command. A VM that means well
// is served beside them.
func TestNothingIsMadeForWhoIsRefused(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	setLimits(t, admin) // the monitor need not see how large a message may be
	var refused atomic.Int64
	c := brokertest.Controller(t)
	for range 2 { // two controllers hear each hello
		listen(t, "redis://"+s.Addr, c, redis.ListenOptions{Authenticator: onlyGood(&refused)})
	}
	watcher, err := net.Dial("tcp", s.Addr)
	require.NoError(t, err)
	defer watcher.Close()
	_, err = io.WriteString(watcher, "MONITOR\r\n")
	require.NoError(t, err)
	seen := bufio.NewScanner(watcher)
	require.True(t, seen.Scan()) // OK: it sees all from now on
	const each = 200
	for i := range each {
		vm := fmt.Sprint("vm-", i)
		hello(t, admin, vm, "a", `{"n":1,"hello":{"version":1,"instance":"i","token":"bad"}}`)
		hello(t, admin, vm, "b", `{"n":1,"hello":{"version":1,"vm_id":"another","token":"good"}}`)
		hello(t, admin, vm, "c", "no frame")
	}
	require.Eventually(t, func() bool { return refused.Load() == 2*each }, time.Minute, time.Millisecond)
	tr, err := redis.New("redis://"+s.Addr, redis.Options{Token: good})
	require.NoError(t, err)
	a := brokertest.RunVM(t, "good", tr)
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	channels, err := admin.PubSubChannels(t.Context(), "miglink:up:*").Result()
	require.NoError(t, err)
	require.Len(t, channels, 1)
	require.Contains(t, channels[0], "miglink:up:good:")
	keys, err := admin.Keys(t.Context(), "*").Result()
	require.NoError(t, err)
	keys = slices.DeleteFunc(keys, func(k string) bool { return strings.Contains(k, "claim:=:") }) // a trial of Listen
	require.Len(t, keys, 1, "the claim of the good one")
	require.NoError(t, watcher.SetReadDeadline(time.Now().Add(time.Minute)))
	claims, subscriptions := 0, 0
	for seen.Scan() && !strings.Contains(seen.Text(), "that is all") {
		line := seen.Text()
		if strings.Contains(line, `"miglink:claim:`) {
			if claims++; claims == 2 { // the second may come after the command has succeeded
				require.NoError(t, admin.Echo(t.Context(), "that is all").Err())
			}
		}
		if strings.Contains(strings.ToLower(line), `"subscribe" "miglink:up:`) {
			subscriptions++
		}
	}
	require.Equal(t, 2, claims, "each controller asks for the good one, and for no other")
	require.Equal(t, 1, subscriptions)
	a.Stop(1)
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
}

// Of several controllers one opens the link of a VM, which ends the link that it had: the others ask nobody for one.
func TestOneDials(t *testing.T) {
	t.Parallel()
	s, admin := start(t)
	var refused, dials atomic.Int64
	c := brokertest.Controller(t)
	counted := observed(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
		dials.Add(1)
		return c.Dial(ctx, h)
	})
	const controllers = 4
	for range controllers {
		listen(t, "redis://"+s.Addr, counted, redis.ListenOptions{Authenticator: onlyGood(&refused)})
	}
	down := admin.PSubscribe(t.Context(), "miglink:down:vm-1:*")
	defer down.Close()
	_, err := down.Receive(t.Context())
	require.NoError(t, err)
	tr, err := redis.New("redis://"+s.Addr, redis.Options{Token: good})
	require.NoError(t, err)
	const each = 10
	for i := range each {
		l, err := brokertest.Dial(t, tr)
		require.NoError(t, err)
		require.EqualValues(t, i+1, dials.Load())
		require.NoError(t, l.Close())
	}
	require.NoError(t, admin.Publish(t.Context(), "miglink:down:vm-1:end", "end").Err())
	welcomes := 0
	for {
		m, err := down.ReceiveMessage(t.Context())
		require.NoError(t, err)
		if m.Payload == "end" {
			break
		}
		if strings.Contains(m.Payload, `"welcome"`) {
			welcomes++
		} else {
			require.Empty(t, m.Payload, "but a goodbye")
		}
	}
	require.Equal(t, each, welcomes)
	require.EqualValues(t, each, dials.Load())
}

// observed is a controller that is looked at.
type observed func(context.Context, transport.Hello) (transport.Link, error)

func (d observed) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	return d(ctx, h)
}
