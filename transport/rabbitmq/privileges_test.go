package rabbitmq_test

import (
	"context"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// intruder is a VM's user who speaks AMQP by hand.
type intruder struct {
	t       *testing.T
	conn    *amqp.Connection
	replyTo string // of what it publishes
}

func intrude(t *testing.T, url string) *intruder {
	t.Helper()
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	return &intruder{t, conn, "miglink.down.vm-1.s"}
}

// try does something on a channel of its own, and waits until the broker has judged it.
func (i *intruder) try(do func(*amqp.Channel) error) error {
	i.t.Helper()
	ch, err := i.conn.Channel()
	require.NoError(i.t, err)
	defer ch.Close()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	require.NoError(i.t, ch.Confirm(false))
	if err := do(ch); err != nil {
		return err
	}
	select {
	case err := <-closed:
		return err
	default:
		return nil
	}
}

func (i *intruder) publish(exchange, key string, headers amqp.Table) error {
	i.t.Helper()
	return i.publishBody(exchange, key, headers, "x")
}

func (i *intruder) publishBody(exchange, key string, headers amqp.Table, body string) error {
	i.t.Helper()
	return i.try(func(ch *amqp.Channel) error {
		closed := ch.NotifyClose(make(chan *amqp.Error, 1))
		d, err := ch.PublishWithDeferredConfirm(exchange, key, false, false, amqp.Publishing{Body: []byte(body), Headers: headers, ReplyTo: i.replyTo})
		if err != nil {
			return err
		}
		select {
		case <-d.Done():
			return nil
		case err := <-closed:
			return err
		case <-time.After(20 * time.Second):
			return context.DeadlineExceeded
		}
	})
}

func bind(queue, key, exchange string) func(*amqp.Channel) error {
	return func(ch *amqp.Channel) error { return ch.QueueBind(queue, key, exchange, false, nil) }
}

// What the documentation gives a VM opens nothing of another's. It needs users vm-1 and controller.
func testPrivileges(t *testing.T, n *node) {
	c := brokertest.Controller(t)
	hellos := make(chan string, 100)
	listen(t, n.url("controller:PASSWORD"), c, rabbitmq.ListenOptions{Authenticator: transport.AuthenticatorFunc(
		func(_ context.Context, vm string, _ transport.Credentials) (transport.Grant, error) {
			hellos <- vm
			return transport.Grant{}, nil
		})})
	i := intrude(t, n.url("vm-1:PASSWORD"))
	const own = "miglink.down.vm-1.s"
	require.NoError(t, i.try(func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(own, false, false, true, false, nil)
		return err
	}), "a queue of its own")
	for what, do := range map[string]func(*amqp.Channel) error{
		"bind another's":  bind(own, "down.vm-2.s", "miglink"),
		"bind all":        bind(own, "#", "miglink"),
		"bind any":        bind(own, "*.*.*", "miglink"),
		"bind downs":      bind(own, "down.#", "miglink"),
		"bind ups":        bind(own, "up.vm-2.#", "miglink"),
		"bind own":        bind(own, "down.vm-1.#", "miglink"),
		"bind own ups":    bind(own, "up.vm-1.#", "miglink"),
		"bind hellos":     bind(own, "hello.#", "miglink"),
		"bind the hellos": bind("miglink.hello", "up.#", "miglink"),
		"bind the trace":  bind(own, "#", "amq.rabbitmq.trace"),
		"unbind hellos": func(ch *amqp.Channel) error {
			return ch.QueueUnbind("miglink.hello", "hello.#", "miglink", nil)
		},
		"consume hellos": func(ch *amqp.Channel) error {
			_, err := ch.Consume("miglink.hello", "", true, false, false, false, nil)
			return err
		},
		"get a hello": func(ch *amqp.Channel) error {
			_, _, err := ch.Get("miglink.hello", true)
			return err
		},
		"purge hellos": func(ch *amqp.Channel) error {
			_, err := ch.QueuePurge("miglink.hello", false)
			return err
		},
		"delete hellos": func(ch *amqp.Channel) error {
			_, err := ch.QueueDelete("miglink.hello", false, false, false)
			return err
		},
		"declare hellos": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("miglink.hello", true, true, false, false, amqp.Table{"x-message-ttl": int32(10_000)})
			return err
		},
		"declare another's": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("miglink.down.vm-2.s", false, true, true, false, nil)
			return err
		},
		"declare a controller's": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("miglink.up.s", false, true, true, false, nil)
			return err
		},
		"declare the exchange": func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare("miglink", "topic", true, false, false, false, nil)
		},
		"delete the exchange": func(ch *amqp.Channel) error { return ch.ExchangeDelete("miglink", false, false) },
		"any queue": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("", false, true, true, false, nil)
			return err
		},
	} {
		require.ErrorContains(t, i.try(do), "ACCESS_REFUSED", what)
	}
	for _, key := range []string{"hello.vm-2.s", "hello.vm-10.s", "up.vm-2.s", "down.vm-2.s", "down.vm-1.s", "other"} {
		require.ErrorContains(t, i.publish("miglink", key, nil), "ACCESS_REFUSED", key)
	}
	require.ErrorContains(t, i.publish("", "miglink.hello", nil), "ACCESS_REFUSED", "the default exchange")
	require.ErrorContains(t, i.publish("", own, nil), "ACCESS_REFUSED", "the default exchange")
	require.ErrorContains(t, i.publish("amq.topic", "x", nil), "ACCESS_REFUSED")

	// By way of an exchange of its own name, whose topics have no permissions.
	const detour = "miglink.down.vm-1.e"
	for what, declare := range map[string]func(*amqp.Channel) error{
		"bound": func(ch *amqp.Channel) error {
			if err := ch.ExchangeDeclare(detour, "topic", false, false, false, false, nil); err != nil {
				return err
			}
			return ch.ExchangeBind("miglink", "#", detour, false, nil)
		},
		"alternate": func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(detour, "topic", false, false, false, false, amqp.Table{"alternate-exchange": "miglink"})
		},
	} {
		require.NoError(t, i.try(declare), what)
		require.ErrorContains(t, i.publish(detour, "hello.vm-2.s", nil), "ACCESS_REFUSED", what)
		require.NoError(t, i.try(func(ch *amqp.Channel) error { return ch.ExchangeDelete(detour, false, false) }))
	}
	// By further keys, which not every version of the broker checks: the first is the one that counts.
	i.hello("hello.vm-1.s", "vm-1", "hello.vm-2.s")
	i.hello("up.vm-1.s", "vm-2", "hello.vm-2.s", "down.vm-2.s", "miglink.down.vm-2.s")
	i.hello("hello.vm-1.s2", "vm-1") // and what was before it has been taken
	require.Equal(t, "vm-1", <-hellos)
	require.Equal(t, "vm-1", <-hellos)
	require.Empty(t, hellos)
}

// hello publishes a hello of a VM with a routing key, and further ones; the broker may refuse those.
func (i *intruder) hello(key, vm string, further ...any) {
	i.t.Helper()
	headers := amqp.Table{}
	if len(further) > 0 {
		headers["CC"] = further
	}
	err := i.publishBody("miglink", key, headers, `{"n":1,"hello":{"version":1,"vm_id":"`+vm+`","instance":"i"}}`)
	if err != nil {
		require.ErrorContains(i.t, err, "ACCESS_REFUSED")
		require.NotEmpty(i.t, further)
	}
}
