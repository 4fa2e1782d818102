package rabbitmq_test

import (
	"bytes"
	"log/slog"
	"net/url"
	"testing"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// A controller that starts says so, and agents of one that has died come to it, long before they would miss it.
func TestStartedIsHeard(t *testing.T) {
	t.Parallel()
	to := server(t)
	u, err := url.Parse(to)
	require.NoError(t, err)
	if u.Port() == "" {
		u.Host += ":5672"
	}
	prefix := "miglink-" + uuid.NewString()
	tr, err := rabbitmq.New(to, rabbitmq.Options{Prefix: prefix})
	require.NoError(t, err)
	brokertest.Started(t, u.Host, func(addr string, to transport.Transport) (brokertest.Listener, error) {
		at := *u
		at.Host = addr
		return rabbitmq.Listen(t.Context(), at.String(), to, rabbitmq.ListenOptions{Prefix: prefix, Keepalive: brokertest.Silent})
	}, tr)
}

// Permissions of before that notice are enough for all else: an agent that may not hear it and a controller that may not give
// it, which says so, work. It needs users vm-1 and controller.
func testStartedPermissions(t *testing.T, n *node) {
	n.Ctl("set_permissions", "vm-1", `^miglink\.down\.vm-1\.`, "^miglink$", `^miglink\.down\.vm-1\.`)
	n.Ctl("set_permissions", "controller", `^miglink($|\.hello$|\.up\.)`, `^(miglink|amq\.default$)`, "^miglink")
	guest, err := amqp.Dial(n.url("guest:guest"))
	require.NoError(t, err)
	defer guest.Close()
	ch, err := guest.Channel()
	require.NoError(t, err)
	for _, there := range []bool{true, false} { // the queue, which another controller had made
		if !there {
			_, err := ch.QueueDelete("miglink.started", false, false, false)
			require.NoError(t, err)
		}
		var log bytes.Buffer
		c := brokertest.Controller(t)
		l, err := rabbitmq.Listen(t.Context(), n.url("controller:PASSWORD"), c, rabbitmq.ListenOptions{
			Log: slog.New(slog.NewTextHandler(&log, nil)), Keepalive: brokertest.Silent,
		})
		require.NoError(t, err)
		a := brokertest.Run(t, open(t, n.url("vm-1:PASSWORD")))
		brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
		brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
		a.Stop(2)
		require.ErrorContains(t, intrude(t, n.url("vm-1:PASSWORD")).try(func(ch *amqp.Channel) error {
			_, err := ch.Consume("miglink.started", "", true, false, false, false, nil)
			return err
		}), "ACCESS_REFUSED")
		require.NoError(t, l.Close()) // nobody writes to the log any more
		require.Contains(t, log.String(), "level=WARN msg=\"cannot say that this controller has started")
		require.Contains(t, log.String(), "access to queue 'miglink.started' in vhost '/' refused for user 'controller'")
	}
}
