package rabbitmq_test

import (
	"net"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// server is the broker that MIGLINK_TEST_AMQP names.
func server(t *testing.T) string {
	t.Helper()
	url := os.Getenv("MIGLINK_TEST_AMQP")
	if url == "" {
		url = "amqp://guest:guest@127.0.0.1:5672"
	}
	c, err := amqp.Dial(url)
	needs.Machine(t, err, "no RabbitMQ broker where MIGLINK_TEST_AMQP says, or on 127.0.0.1:5672")
	require.NoError(t, c.Close())
	return url
}

func brokerAddr(u amqp.URI) string { return net.JoinHostPort(u.Host, strconv.Itoa(u.Port)) }

func listen(t *testing.T, url string, c transport.Transport, o rabbitmq.ListenOptions) *rabbitmq.Listener {
	t.Helper()
	l, err := rabbitmq.Listen(t.Context(), url, c, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	return l
}

// The whole suite, which counts goroutines and so runs by itself.
func TestConformance(t *testing.T) {
	conformance.Test(t, subjects.RabbitMQAt(server(t)))
}

// Any name of a VM is one word of a routing key, and no other VM's.
func TestNames(t *testing.T) {
	t.Parallel()
	url := server(t)
	prefix := "miglink-" + uuid.NewString()
	c := brokertest.Controller(t)
	listen(t, url, c, rabbitmq.ListenOptions{Prefix: prefix})
	t.Cleanup(func() { deleteExchange(t, url, prefix) })
	tr, err := rabbitmq.New(url, rabbitmq.Options{Prefix: prefix})
	require.NoError(t, err)
	for _, vm := range []string{"vm-1", "pool/vm 1", "a.b", "#", "=2E", "ü", "A_b-9", strings.Repeat("ж", 24)} {
		l, err := tr.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
		require.NoError(t, err, vm)
		p, ok := c.Presence(vm)
		require.True(t, ok && p.Attached, vm)
		require.Equal(t, "rabbitmq", p.Transport)
		require.NoError(t, l.Close())
	}
	_, err = tr.Dial(t.Context(), transport.Hello{VM: strings.Repeat("ж", 60), Instance: "i"})
	require.ErrorContains(t, err, "take a shorter name")
}

func deleteExchange(t *testing.T, url, name string) {
	t.Helper()
	c, err := amqp.Dial(url)
	require.NoError(t, err)
	defer c.Close()
	ch, err := c.Channel()
	require.NoError(t, err)
	require.NoError(t, ch.ExchangeDelete(name, false, false))
}

// Others may watch what agents say, with queues of their own; what controllers say goes past the exchange.
func TestWatching(t *testing.T) {
	t.Parallel()
	url := server(t)
	prefix := "miglink-" + uuid.NewString()
	c := brokertest.Controller(t)
	listen(t, url, c, rabbitmq.ListenOptions{Prefix: prefix})
	t.Cleanup(func() { deleteExchange(t, url, prefix) })
	admin, err := amqp.Dial(url)
	require.NoError(t, err)
	defer admin.Close()
	ch, err := admin.Channel()
	require.NoError(t, err)
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	require.NoError(t, err)
	require.NoError(t, ch.QueueBind(q.Name, "*.vm-1.#", prefix, false, nil))
	watch, err := ch.Consume(q.Name, "", true, true, false, false, nil)
	require.NoError(t, err)
	tr, err := rabbitmq.New(url, rabbitmq.Options{Prefix: prefix})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	var seen []string
	for len(seen) < 3 {
		m := <-watch
		what := "gone"
		for _, kind := range []string{"hello", "welcome", "commands", "acks", "recorded"} {
			if strings.Contains(string(m.Body), `"`+kind+`"`) {
				what = kind
			}
		}
		seen = append(seen, strings.Split(m.RoutingKey, ".")[0]+" "+what)
	}
	require.Equal(t, []string{"hello hello", "up acks", "up gone"}, seen)
}
