package rabbitmq_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
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

// Hellos that are refused have the broker keep nothing, at any moment, and are told no key. A VM that means well is served beside them.
func testRefused(t *testing.T, n *node) {
	url := n.url("guest:guest")
	var refused atomic.Int64
	var out brokertest.Record
	c := brokertest.Controller(t)
	listen(t, url, c, rabbitmq.ListenOptions{Authenticator: onlyGood(&refused), AMQP: func(o *amqp.Config) { o.Dial = out.Dial }})
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	const each = 200
	for i := range each {
		for session, frame := range map[string]string{
			"a": `{"n":1,"hello":{"version":1,"instance":"i","token":"bad"}}`,
			"b": `{"n":1,"hello":{"version":1,"vm_id":"another","token":"good"}}`,
			"c": "no frame",
		} {
			require.NoError(t, ch.PublishWithContext(t.Context(), "miglink", fmt.Sprintf("hello.vm-%d.%s", i, session), false, false, amqp.Publishing{Body: []byte(frame), ReplyTo: fmt.Sprintf("miglink.down.vm-%d.s", i)}))
		}
	}
	require.Eventually(t, func() bool { return refused.Load() == each }, time.Minute, time.Millisecond)
	tr, err := rabbitmq.New(url, rabbitmq.Options{Token: func(context.Context) (string, error) { return "good", nil }})
	require.NoError(t, err)
	a := brokertest.RunVM(t, "good", tr)
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	require.Zero(t, out.Count("up.vm-"), "the controller names none of them to the broker")
	require.Equal(t, 1, out.Count("up.good."))
	bindings, err := n.Command("rabbitmqctl", "list_bindings", "routing_key").Output()
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(bindings), "up.*"), "one binding for all links")
	a.Stop(1)
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
}

// lines is a log.
type lines struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A VM with the documented permissions has its own queue dead-letter what comes to it, under the keys of another VM: to a
// controller it is none of that VM's. It needs users vm-1 and controller.
func testDeadLettered(t *testing.T, n *node) {
	var log lines
	c := brokertest.Controller(t)
	asked := make(chan string, 100)
	listen(t, n.url("controller:PASSWORD"), c, rabbitmq.ListenOptions{
		Log: slog.New(slog.NewTextHandler(&log, nil)),
		Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
			asked <- vm
			return transport.Grant{}, nil
		}),
	})
	// The victim's link, by hand, so that its session is known.
	victim, err := amqp.Dial(n.url("guest:guest"))
	require.NoError(t, err)
	defer victim.Close()
	ch, err := victim.Channel()
	require.NoError(t, err)
	_, err = ch.QueueDeclare("miglink.down.vm-2.s", false, true, true, false, nil)
	require.NoError(t, err)
	down, err := ch.Consume("miglink.down.vm-2.s", "", true, true, false, false, nil)
	require.NoError(t, err)
	say := func(key, user, body string) {
		require.NoError(t, ch.PublishWithContext(t.Context(), "miglink", key, false, false, amqp.Publishing{
			Body: []byte(body), UserId: user, ReplyTo: "miglink.down.vm-2.s",
		}))
	}
	say("hello.vm-2.s", "guest", `{"n":1,"hello":{"version":1,"instance":"i"}}`)
	welcome := <-down
	require.Contains(t, string(welcome.Body), "welcome")
	up := welcome.ReplyTo
	require.True(t, strings.HasPrefix(up, "up.vm-2.s."), up)
	require.Equal(t, "vm-2", <-asked)

	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(q.Name, "*.vm-2.#", "miglink", false, nil))
	under, err := ch.Consume(q.Name, "", true, true, false, false, nil) // the names of the victim
	require.NoError(t, err)
	i := intrude(t, n.url("vm-1:PASSWORD"))
	for k, key := range []string{up, "hello.vm-2.x"} {
		own := fmt.Sprintf("miglink.down.vm-1.d%d", k)
		for _, how := range []amqp.Table{
			{"x-message-ttl": int32(0)},                            // each expires at once: the controller's words, its goodbye, too
			{"x-max-length": int32(0)},                             // none has room
			{"x-message-ttl": int32(0), "x-queue-type": "classic"}, //
			{"x-max-length": int32(1), "x-overflow": "drop-head"},  // the second drives out the first
			{"x-max-length-bytes": int32(1), "x-message-ttl": int32(1)},
		} {
			how["x-dead-letter-exchange"], how["x-dead-letter-routing-key"] = "miglink", key
			require.NoError(t, i.try(func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclare(own, false, false, false, false, how)
				return err
			}), "a VM may declare it")
			i.replyTo = own
			// Its own hellos have the controller write to that queue: a welcome, a refusal, a goodbye.
			i.hello("hello.vm-1."+strings.TrimPrefix(own, "miglink.down.vm-1."), "vm-1")
			require.Equal(t, "vm-1", <-asked)
			i.hello("hello.vm-1."+strings.TrimPrefix(own, "miglink.down.vm-1."), "vm-3")
			require.NoError(t, i.publishBody("miglink", "up.vm-1."+strings.TrimPrefix(own, "miglink.down.vm-1.")+strings.TrimPrefix(up, "up.vm-2.s"), nil, "no frame"))
			for m := range under { // the broker has put it there
				if m.RoutingKey == key {
					break
				}
			}
			require.NoError(t, i.try(func(ch *amqp.Channel) error {
				_, err := ch.QueueDelete(own, false, false, false)
				return err
			}))
		}
	}
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "dead-lettered") }, time.Minute, time.Millisecond)
	// A hello that has a controller write to a queue of others, as that of all hellos.
	for k, queue := range []string{"", "miglink.hello", "miglink.down.vm-2.s", "miglink.down.vm-10.s", "amq.rabbitmq.reply-to.x.y"} {
		i.replyTo = queue
		require.NoError(t, i.publishBody("miglink", fmt.Sprint("hello.vm-1.e", k), nil, `{"n":1,"hello":{"version":1,"instance":"i"}}`))
	}
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "a queue of its VM") }, time.Minute, time.Millisecond)
	// Frames of the link itself that are of another user than its hello, or of none.
	say(up, "", `{"n":2,"ping":true}`)
	say(up, "", "")
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "another user") }, time.Minute, time.Millisecond)
	// The victim's link lives, and has missed nothing.
	say(up, "guest", `{"n":2,"ping":true}`)
	require.Contains(t, string((<-down).Body), "pong")
	for len(asked) > 0 {
		require.Equal(t, "vm-1", <-asked, "a hello in another's name was taken")
	}
}
