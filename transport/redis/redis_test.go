package redis_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

func TestMain(m *testing.M) {
	// The library's pool probes a server that is gone for up to a second after its Close.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}

func url(s *miniredis.Miniredis) string { return "redis://" + s.Addr() }

func listen(t *testing.T, url string, c transport.Transport, o redis.ListenOptions) *redis.Listener {
	t.Helper()
	l, err := redis.Listen(t.Context(), url, c, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

func open(t *testing.T, url string) *redis.Transport {
	t.Helper()
	tr, err := redis.New(url, redis.Options{})
	require.NoError(t, err)
	return tr
}

// What is wrong is said at once, and in a way that helps.
func TestErrors(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	s.RequireUserAuth("good", "s3cret")
	for _, test := range []struct{ name, url, says string }{
		{"no server", "redis://127.0.0.1:1", "connection refused"},
		{"no credentials", url(s), "NOAUTH Authentication required"},
		{"bad credentials", "redis://good:wr0ng@" + s.Addr(), "WRONGPASS"},
	} {
		_, err := brokertest.Dial(t, open(t, test.url))
		require.ErrorContains(t, err, test.says, test.name)
		require.NotContains(t, err.Error(), "wr0ng")
		require.Equal(t, 1, strings.Count(err.Error(), "redis: "), err.Error())
		require.False(t, transport.Terminal(err))
		_, err = redis.Listen(t.Context(), test.url, brokertest.Controller(t), redis.ListenOptions{})
		require.ErrorContains(t, err, test.says, test.name)
	}
	_, err := brokertest.Dial(t, open(t, "redis://good:s3cret@"+s.Addr()))
	require.ErrorContains(t, err, "no controller listens on this Redis server")
	for _, url := range []string{"", "127.0.0.1:6379", "http://x", "redis://u:s3cret@h\x7f"} {
		_, err := redis.New(url, redis.Options{})
		require.ErrorContains(t, err, "redis://host:6379", url)
	}
	for _, prefix := range []string{"a b", "a*", "[a]"} {
		_, err := redis.New(url(s), redis.Options{Prefix: prefix})
		require.ErrorContains(t, err, "no prefix", prefix)
	}
}

// Any name of a VM is one part of a channel, and no other VM's.
func TestNames(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	c := brokertest.Controller(t)
	listen(t, url(s), c, redis.ListenOptions{Prefix: "some:where"})
	tr, err := redis.New(url(s), redis.Options{Prefix: "some:where"})
	require.NoError(t, err)
	for _, vm := range []string{"vm-1", "pool/vm 1", "a:b", "[a]?", "=2E", "ü", "A_b-9"} {
		l, err := tr.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
		require.NoError(t, err, vm)
		p, ok := c.Presence(vm)
		require.True(t, ok && p.Attached, vm)
		require.Equal(t, "redis", p.Transport)
		require.NoError(t, l.Close())
	}
}

// hearAnswers subscribes to all that a controller says to agents. The function that it returns waits for the next of it,
// and leaves out what the controller says to nobody to learn how large a message may be, which it does beside serving.
func hearAnswers(t *testing.T, client *redisgo.Client) func() *redisgo.Message {
	t.Helper()
	down := client.PSubscribe(t.Context(), "miglink:down:*")
	t.Cleanup(func() { down.Close() })
	_, err := down.Receive(t.Context())
	require.NoError(t, err)
	return func() *redisgo.Message {
		t.Helper()
		for {
			m, err := down.ReceiveMessage(t.Context())
			require.NoError(t, err)
			if !strings.HasPrefix(m.Channel, "miglink:down:=:") {
				return m
			}
		}
	}
}

// A hello is for the VM of its channel: whoever may publish there is that VM, and no other.
func TestHelloForAnother(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	c := brokertest.Controller(t)
	listen(t, url(s), c, redis.ListenOptions{})
	client := redisgo.NewClient(&redisgo.Options{Addr: s.Addr()})
	defer client.Close()
	next := hearAnswers(t, client)
	say := func(channel, frame string) {
		require.NoError(t, client.Publish(t.Context(), channel, frame).Err())
	}
	for _, bad := range []string{"vm-1", "vm-1:a:b", "vm-1:", "=zz:s", "=41:s", ":s"} { // they are not answered
		say("miglink:hello:"+bad, `{"n":1,"hello":{"version":1}}`)
	}
	say("miglink:hello:vm-1:s", `{"n":1,"hello":{"version":1,"vm_id":"vm-2"}}`)
	m := next()
	require.Equal(t, "miglink:down:vm-1:s", m.Channel)
	require.Contains(t, m.Payload, `"code":"forbidden"`)
	for _, vm := range []string{"vm-1", "vm-2"} {
		_, known := c.Presence(vm)
		require.False(t, known, vm)
	}
}

// A hello that comes twice, as when a client library repeats what it has heard no answer to, leaves its link alone, whether
// the second is another controller's to answer or is refused.
func TestHelloTwice(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	listen(t, url(s), brokertest.Controller(t), redis.ListenOptions{})
	client := redisgo.NewClient(&redisgo.Options{Addr: s.Addr()})
	defer client.Close()
	next := hearAnswers(t, client)
	say := func(channel, frame string) {
		require.NoError(t, client.Publish(t.Context(), channel, frame).Err())
	}
	hear := func(what string) {
		t.Helper()
		require.Contains(t, next().Payload, what)
	}
	const hello = `{"n":1,"hello":{"version":1,"vm_id":"vm-1"}}`
	say("miglink:hello:vm-1:s", hello)
	hear(`"welcome"`)
	say("miglink:hello:vm-1:s", hello)                                          // the claim is there
	say("miglink:hello:vm-1:s", `{"n":1,"hello":{"version":1,"vm_id":"vm-2"}}`) // which is refused
	hear(`"code":"forbidden"`)
	hear("") // and its goodbye
	say("miglink:up:vm-1:s", `{"n":2,"ping":true}`)
	hear(`"pong"`)
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	says := errors.New("the key server db-7 is down")
	listen(t, url(s), brokertest.Controller(t), redis.ListenOptions{Authenticator: transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
		return transport.Grant{}, says
	})})
	_, err := brokertest.Dial(t, open(t, url(s)))
	require.ErrorIs(t, err, transport.ErrUnauthorized)
	require.NotContains(t, err.Error(), "db-7")
	says = transport.ErrRevoked
	_, err = brokertest.Dial(t, open(t, url(s)))
	require.ErrorIs(t, err, transport.ErrRevoked)
	says = nil
	l, err := brokertest.Dial(t, open(t, url(s)))
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// Of several controllers on one server each dial is claimed by one; what one has served another takes when
// it is gone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	shared := brokertest.Controller(t)
	first, err := redis.Listen(t.Context(), url(s), shared, redis.ListenOptions{})
	require.NoError(t, err)
	a := brokertest.Run(t, open(t, url(s)))
	brokertest.Succeed(t, brokertest.Send(t, shared, command.Drain{}))
	listen(t, url(s), shared, redis.ListenOptions{})
	require.NoError(t, first.Close())
	brokertest.Succeed(t, brokertest.Send(t, shared, command.Drain{}))
	a.Stop(2)
}

// Two controllers hear each hello, and one of them answers.
func TestOneAnswers(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	shared := brokertest.Controller(t)
	listen(t, url(s), shared, redis.ListenOptions{})
	listen(t, url(s), shared, redis.ListenOptions{})
	client := redisgo.NewClient(&redisgo.Options{Addr: s.Addr()})
	defer client.Close()
	down := client.PSubscribe(t.Context(), "miglink:down:vm-1:*")
	defer down.Close()
	_, err := down.Receive(t.Context())
	require.NoError(t, err)
	const dials = 20
	for range dials {
		l, err := brokertest.Dial(t, open(t, url(s)))
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	require.NoError(t, client.Publish(t.Context(), "miglink:down:vm-1:end", "end").Err())
	welcomes := 0
	for {
		m, err := down.ReceiveMessage(t.Context())
		require.NoError(t, err)
		if m.Payload == "end" {
			break
		}
		if strings.Contains(m.Payload, `"welcome"`) {
			welcomes++
		}
	}
	require.Equal(t, dials, welcomes)
}

// Others may watch, if the server lets them.
func TestWatching(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	c := brokertest.Controller(t)
	listen(t, url(s), c, redis.ListenOptions{})
	client := redisgo.NewClient(&redisgo.Options{Addr: s.Addr()})
	defer client.Close()
	watch := client.PSubscribe(t.Context(), "miglink:*:vm-1:*")
	defer watch.Close()
	_, err := watch.Receive(t.Context())
	require.NoError(t, err)
	l, err := brokertest.Dial(t, open(t, url(s)))
	require.NoError(t, err)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	var seen []string
	for len(seen) < 6 {
		m, err := watch.ReceiveMessage(t.Context())
		require.NoError(t, err)
		what := "gone"
		for _, kind := range []string{"hello", "welcome", "commands", "acks", "recorded"} {
			if strings.Contains(m.Payload, `"`+kind+`"`) {
				what = kind
			}
		}
		seen = append(seen, strings.Split(m.Channel, ":")[1]+" "+what)
	}
	require.Equal(t, []string{"hello hello", "down welcome", "down commands", "up acks", "down recorded", "up gone"}, seen)
}

// An end whose process was killed is noticed by the first message that nobody gets.
func TestTheOtherEndIsGone(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	c := brokertest.Controller(t)
	listen(t, url(s), c, redis.ListenOptions{Keepalive: time.Hour})
	kill := make(chan struct{})
	tr, err := redis.New(url(s), redis.Options{Redis: func(o *redisgo.Options) { o.Dialer = mortal(kill) }})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	close(kill)
	_, err = l.Receive(t.Context())
	require.Error(t, err)
	require.NoError(t, l.Close())
	require.Eventually(t, func() bool { // the server may notice a little later
		brokertest.Send(t, c, command.Drain{})
		p, _ := c.Presence(brokertest.VM)
		return !p.Attached
	}, 20*time.Second, time.Millisecond)
}

// Two relays serve one broker at the same time; what one has is taken by the other when it is cut off.
func TestShare(t *testing.T) {
	t.Parallel()
	s := miniredis.RunT(t)
	brokertest.Share(t, s.Addr(), func(addr string, to transport.Transport) (io.Closer, error) {
		return redis.Listen(t.Context(), "redis://"+addr, to, redis.ListenOptions{Keepalive: brokertest.Keepalive})
	}, open(t, url(s)))
}
