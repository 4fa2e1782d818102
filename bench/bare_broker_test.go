package bench_test

import (
	"context"
	"encoding/json"
	"net"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
)

// outside are the brokers that have processes of their own: variables that name them, and where they are
// else.
var outside = map[string][2]string{
	"redis":    {"MIGLINK_TEST_REDIS", "redis://127.0.0.1:6379"},
	"rabbitmq": {"MIGLINK_TEST_AMQP", "amqp://guest:guest@127.0.0.1:5672"},
}

// brokerURL is that of a broker outside, or skips the benchmark.
func brokerURL(b *testing.B, name string) string {
	b.Helper()
	raw := os.Getenv(outside[name][0])
	if raw == "" {
		raw = outside[name][1]
	}
	u, err := url.Parse(raw)
	require.NoError(b, err)
	c, err := net.Dial("tcp", u.Host)
	if err != nil && os.Getenv("MIGLINK_REQUIRE") == "" {
		b.Skipf("%s is not given, and nothing listens on %s", outside[name][0], u.Host)
	}
	require.NoError(b, err)
	require.NoError(b, c.Close())
	return raw
}

// answerTo is what a bare agent says to a command.
func answerTo(data []byte) ([]byte, error) {
	var c message
	if err := json.Unmarshal(data, &c); err != nil {
		return nil, err
	}
	return json.Marshal(answer{c.ID, "processed"})
}

func bareRedis(b *testing.B) func() {
	raw := brokerURL(b, "redis")
	o, err := redisgo.ParseURL(raw)
	require.NoError(b, err)
	c := redisgo.NewClient(o)
	b.Cleanup(func() { c.Close() })
	acks := c.Subscribe(b.Context(), "bench:acks")
	b.Cleanup(func() { acks.Close() })
	_, err = acks.Receive(b.Context())
	require.NoError(b, err)
	startAgents(b, "bare-redis", raw, 1)
	data, err := json.Marshal(probe)
	require.NoError(b, err)
	for { // until the agent has subscribed
		n, err := c.Publish(b.Context(), "bench:commands", data).Result()
		require.NoError(b, err)
		if n > 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	await := func() {
		m, err := acks.ReceiveMessage(b.Context())
		require.NoError(b, err)
		var a answer
		require.NoError(b, json.Unmarshal([]byte(m.Payload), &a))
	}
	await()
	return func() {
		require.NoError(b, c.Publish(b.Context(), "bench:commands", data).Err())
		await()
	}
}

func bareRedisAgent(raw string) error {
	ctx := context.Background()
	o, err := redisgo.ParseURL(raw)
	if err != nil {
		return err
	}
	c := redisgo.NewClient(o)
	commands := c.Subscribe(ctx, "bench:commands")
	for {
		m, err := commands.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		data, err := answerTo([]byte(m.Payload))
		if err == nil {
			err = c.Publish(ctx, "bench:acks", data).Err()
		}
		if err != nil {
			return err
		}
	}
}

func bareRabbitMQ(b *testing.B) func() {
	raw := brokerURL(b, "rabbitmq")
	conn, err := amqp.Dial(raw)
	require.NoError(b, err)
	b.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	require.NoError(b, err)
	acks, err := ch.QueueDeclare("bench-acks-"+uuid.NewString(), false, true, true, false, nil)
	require.NoError(b, err)
	in, err := ch.Consume(acks.Name, "", true, true, false, false, nil)
	require.NoError(b, err)
	_, err = ch.QueueDeclare("bench-commands", false, true, false, false, nil)
	require.NoError(b, err)
	_, err = ch.QueuePurge("bench-commands", false)
	require.NoError(b, err)
	startAgents(b, "bare-rabbitmq", raw, 1)
	data, err := json.Marshal(probe)
	require.NoError(b, err)
	return func() {
		require.NoError(b, ch.PublishWithContext(b.Context(), "", "bench-commands", false, false, amqp.Publishing{Body: data, ReplyTo: acks.Name}))
		var a answer
		require.NoError(b, json.Unmarshal((<-in).Body, &a))
	}
}

func bareRabbitMQAgent(raw string) error {
	conn, err := amqp.Dial(raw)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	in, err := ch.Consume("bench-commands", "", true, false, false, false, nil)
	if err != nil {
		return err
	}
	for m := range in {
		data, err := answerTo(m.Body)
		if err == nil {
			err = ch.PublishWithContext(context.Background(), "", m.ReplyTo, false, false, amqp.Publishing{Body: data})
		}
		if err != nil {
			return err
		}
	}
	return amqp.ErrClosed
}
