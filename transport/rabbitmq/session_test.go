package rabbitmq_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// What comes to the queue of a VM for another session than the link's, as the goodbye of an older controller, is dropped.
func TestAnotherSession(t *testing.T) {
	t.Parallel()
	url := server(t)
	prefix := "miglink-" + uuid.NewString()
	c := brokertest.Controller(t)
	listen(t, url, c, rabbitmq.ListenOptions{Prefix: prefix})
	t.Cleanup(func() { deleteExchange(t, url, prefix) })
	conn, err := amqp.Dial(url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(q.Name, "hello.#", prefix, false, nil))
	hellos, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	tr, err := rabbitmq.New(url, rabbitmq.Options{Prefix: prefix})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	defer l.Close()
	hello := <-hellos
	session := hello.RoutingKey[strings.LastIndex(hello.RoutingKey, ".")+1:]
	goodbye := func(session string) {
		require.NoError(t, ch.PublishWithContext(t.Context(), "", hello.ReplyTo, true, false, amqp.Publishing{CorrelationId: session}))
	}
	goodbye("another")
	r := brokertest.Send(t, c, command.Drain{})
	page, err := l.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.ID(), page[0].ID)
	goodbye(session)
	_, err = l.Receive(t.Context())
	require.Error(t, err)
	require.False(t, transport.Terminal(err))
}
