package rabbitmq_test

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// node is a broker of this test's own.
type node struct{ *brokertest.Rabbit }

func startNode(t *testing.T) *node {
	t.Helper()
	return &node{brokertest.StartRabbit(t)}
}

func (n *node) url(user string) string { return "amqp://" + user + "@" + n.Addr }

func open(t *testing.T, url string) *rabbitmq.Transport {
	t.Helper()
	tr, err := rabbitmq.New(url, rabbitmq.Options{})
	require.NoError(t, err)
	return tr
}

// All that needs a broker of its own, one after the other: it takes a while to start.
func TestNode(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	guest := n.url("guest:guest")
	t.Run("errors", func(t *testing.T) { testErrors(t, n) })
	t.Run("permissions", func(t *testing.T) { testPermissions(t, n) })
	t.Run("limits", func(t *testing.T) { testLimits(t, n) })
	t.Run("refused", func(t *testing.T) { testRefused(t, n) })
	t.Run("watching", func(t *testing.T) { testWatching(t, guest) })
	t.Run("presence", func(t *testing.T) { testPresence(t, guest) })
	t.Run("share", func(t *testing.T) {
		brokertest.Share(t, n.Addr, func(addr string, to transport.Transport) (io.Closer, error) {
			return rabbitmq.Listen(t.Context(), "amqp://guest:guest@"+addr, to, rabbitmq.ListenOptions{Keepalive: brokertest.Keepalive})
		}, open(t, guest))
	})
	survives := func(t *testing.T, times int, fault func()) {
		c := brokertest.Controller(t)
		listen(t, guest, c, rabbitmq.ListenOptions{})
		brokertest.Survive(t, c, open(t, guest), times, fault)
	}
	t.Run("close_all_connections", func(t *testing.T) { // of the operator
		survives(t, 5, func() { n.Ctl("close_all_connections", "an operator says so") })
	})
	t.Run("channel closed", func(t *testing.T) { // scenario 81: by what is gone from under it
		admin, err := amqp.Dial(guest)
		require.NoError(t, err)
		defer admin.Close()
		survives(t, 3, func() {
			ch, err := admin.Channel()
			require.NoError(t, err)
			require.NoError(t, ch.ExchangeDelete("miglink", false, false))
			require.NoError(t, ch.Close())
		})
	})
	t.Run("queue deleted", func(t *testing.T) {
		admin, err := amqp.Dial(guest)
		require.NoError(t, err)
		defer admin.Close()
		ch, err := admin.Channel()
		require.NoError(t, err)
		survives(t, 1, func() {
			_, err := ch.QueueDelete("miglink.hello", false, false, false)
			require.NoError(t, err)
			n.Ctl("close_all_connections", "so that all dial")
		})
	})
	t.Run("restart", func(t *testing.T) { // scenario 79
		survives(t, 2, func() {
			n.Kill()
			n.Start()
		})
	})
	t.Run("away at the start", func(t *testing.T) { testAwayAtStart(t, n) })
	t.Run("recover", func(t *testing.T) { testRecover(t, n) }) // the last: it loses all data
}

// What is wrong is said at once, and in a way that helps.
func testErrors(t *testing.T, n *node) {
	guest := n.url("guest:guest")
	for _, test := range []struct{ name, url, says string }{
		{"no broker", "amqp://127.0.0.1:1", "connection refused"},
		{"bad credentials", n.url("guest:wr0ng"), "username or password not allowed"},
		{"no such vhost", guest + "/elsewhere", "vhost elsewhere not found"},
	} {
		_, err := brokertest.Dial(t, open(t, test.url))
		require.ErrorContains(t, err, test.says, test.name)
		require.NotContains(t, err.Error(), "wr0ng")
		require.False(t, transport.Terminal(err))
		_, err = rabbitmq.Listen(t.Context(), test.url, brokertest.Controller(t), rabbitmq.ListenOptions{})
		require.ErrorContains(t, err, test.says, test.name)
	}
	_, err := brokertest.Dial(t, open(t, guest))
	require.ErrorContains(t, err, "no controller has ever listened")
	l, err := rabbitmq.Listen(t.Context(), guest, brokertest.Controller(t), rabbitmq.ListenOptions{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	_, err = brokertest.Dial(t, open(t, guest))
	require.ErrorContains(t, err, "no controller listens on this broker")
	for _, url := range []string{"", "127.0.0.1:5672", "http://x", "amqp://u:s3cret@h\x7f"} {
		_, err := rabbitmq.New(url, rabbitmq.Options{})
		require.ErrorContains(t, err, "amqp://host:5672", url)
	}
	for _, prefix := range []string{"a b", "a.*", "#", "amq.direct"} {
		_, err := rabbitmq.New(guest, rabbitmq.Options{Prefix: prefix})
		require.ErrorContains(t, err, "no prefix", prefix)
	}
}

// What an agent and a controller need, as the package's documentation has it, is enough; less is said.
func testPermissions(t *testing.T, n *node) {
	guest := n.url("guest:guest")
	listen(t, guest, brokertest.Controller(t), rabbitmq.ListenOptions{Prefix: "elsewhere"})
	n.Ctl("add_user", "vm-1", "PASSWORD")
	n.Ctl("add_user", "controller", "PASSWORD")
	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	var rules [][]string
	for line := range strings.Lines(string(doc)) {
		if rule, ok := strings.CutPrefix(strings.TrimSpace(line), "//\trabbitmqctl "); ok {
			rules = append(rules, strings.Fields(rule))
		}
	}
	require.Len(t, rules, 3)
	n.Ctl(rules[2]...)
	c := brokertest.Controller(t)
	user := make(chan string, 10)
	listener := listen(t, n.url("controller:PASSWORD"), c, rabbitmq.ListenOptions{Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		user <- c.User
		if vm != c.User {
			return transport.Grant{}, errors.New("another's")
		}
		return transport.Grant{}, nil
	})})
	n.Ctl(rules[0]...)
	n.Ctl(rules[1]...)
	l, err := brokertest.Dial(t, open(t, n.url("vm-1:PASSWORD")))
	require.NoError(t, err)
	require.Equal(t, "vm-1", <-user)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	_, err = open(t, n.url("vm-1:PASSWORD")).Dial(t.Context(), transport.Hello{VM: "vm-2"})
	require.ErrorContains(t, err, "ACCESS_REFUSED")
	_, err = brokertest.Dial(t, open(t, guest))
	require.ErrorIs(t, err, transport.ErrUnauthorized, "the broker vouches for the user")
	require.NoError(t, listener.Close())
	t.Run("privileges", func(t *testing.T) { testPrivileges(t, n) })
	t.Run("dead-lettered", func(t *testing.T) { testDeadLettered(t, n) })
	t.Run("started", func(t *testing.T) { testStartedPermissions(t, n) })

	n.Ctl("set_topic_permissions", "vm-1", "miglink", "^up", ".*")
	_, err = brokertest.Dial(t, open(t, n.url("vm-1:PASSWORD")))
	require.ErrorContains(t, err, "ACCESS_REFUSED", "may not say hello")
	n.Ctl("set_permissions", "vm-1", "^$", ".*", ".*")
	_, err = brokertest.Dial(t, open(t, n.url("vm-1:PASSWORD")))
	require.ErrorContains(t, err, "ACCESS_REFUSED", "may have no queue")
	n.Ctl("set_permissions", "controller", "^$", ".*", ".*")
	_, err = rabbitmq.Listen(t.Context(), n.url("controller:PASSWORD"), c, rabbitmq.ListenOptions{Prefix: "new"})
	require.ErrorContains(t, err, "ACCESS_REFUSED")
}

// An agent that died is noticed by the first message that no queue takes, and a controller likewise.
func testPresence(t *testing.T, url string) {
	c := brokertest.Controller(t)
	listener, err := rabbitmq.Listen(t.Context(), url, c, rabbitmq.ListenOptions{Keepalive: time.Hour})
	require.NoError(t, err)
	var conn net.Conn
	tr, err := rabbitmq.New(url, rabbitmq.Options{AMQP: func(o *amqp.Config) {
		dial := o.Dial
		o.Dial = func(network, addr string) (net.Conn, error) {
			c, err := dial(network, addr)
			conn = c
			return c, err
		}
	}})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	conn.Close()
	_, err = l.Receive(t.Context())
	require.Error(t, err)
	require.NoError(t, l.Close())
	sent := 0
	require.Eventually(t, func() bool { // the broker may notice a little later
		brokertest.Send(t, c, command.Drain{})
		sent++
		p, _ := c.Presence(brokertest.VM)
		return !p.Attached
	}, 20*time.Second, time.Millisecond)

	require.NoError(t, listener.Close())
	listener, err = rabbitmq.Listen(t.Context(), url, c, rabbitmq.ListenOptions{Keepalive: time.Hour})
	require.NoError(t, err)
	a := brokertest.Run(t, open(t, url))
	brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	require.NoError(t, listener.Close())
	second := brokertest.Controller(t)
	listen(t, url, second, rabbitmq.ListenOptions{})
	var rs []*controller.Receipt
	for range 5 {
		rs = append(rs, brokertest.Send(t, second, command.Drain{}))
	}
	brokertest.Succeed(t, rs...)
	a.Stop(sent + 1 + len(rs))
}

// Others may watch what agents say, by a queue of their own, and not what they are told.
func testWatching(t *testing.T, url string) {
	c := brokertest.Controller(t)
	listener, err := rabbitmq.Listen(t.Context(), url, c, rabbitmq.ListenOptions{})
	require.NoError(t, err)
	watcher, err := amqp.Dial(url)
	require.NoError(t, err)
	defer watcher.Close()
	ch, err := watcher.Channel()
	require.NoError(t, err)
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(q.Name, "#", "miglink", false, nil))
	watched, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)

	l, err := brokertest.Dial(t, open(t, url))
	require.NoError(t, err)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	var seen []string
	for len(seen) < 3 {
		m := <-watched
		kind := "gone"
		for _, k := range []string{"hello", "welcome", "commands", "acks", "recorded"} {
			if strings.Contains(string(m.Body), `"`+k+`"`) {
				kind = k
			}
		}
		way, _, _ := strings.Cut(m.RoutingKey, ".")
		seen = append(seen, way+" "+kind)
	}
	require.Equal(t, []string{"hello hello", "up acks", "up gone"}, seen)
	require.NoError(t, listener.Close())
}
