package bench

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	natsgo "github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	redisgo "github.com/redis/go-redis/v9"
)

var probeData = func() []byte {
	b, err := json.Marshal(probe)
	if err != nil {
		panic(err)
	}
	return b
}()

// bareNATS is a request and its reply.
func bareNATS(_ context.Context, o *Options, _ int) (*loop, error) {
	l := &loop{}
	url, err := startNATS(&l.clean)
	if err != nil {
		return l, err
	}
	if _, err := l.startBare(o, "bare-nats", url, 1); err != nil {
		return l, err
	}
	conn, err := natsgo.Connect(url)
	if err != nil {
		return l, err
	}
	l.clean.add(conn.Close)
	l.roundTrip = func(context.Context) error {
		m, err := conn.Request("commands", probeData, readyTime)
		if err != nil {
			return err
		}
		var a answer
		return json.Unmarshal(m.Data, &a)
	}
	for end := time.Now().Add(readyTime); ; time.Sleep(time.Millisecond) {
		err := l.roundTrip(nil)
		if !errors.Is(err, natsgo.ErrNoResponders) || time.Now().After(end) {
			return l, err
		}
	}
}

func bareNATSAgent(url string, _ int) error {
	conn, err := natsgo.Connect(url)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	_, err = conn.Subscribe("commands", func(m *natsgo.Msg) {
		data, err := answerTo(m.Data)
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			ended <- err
		}
	})
	if err != nil {
		return err
	}
	return <-ended
}

// bareRedis is a PUBLISH each way.
func bareRedis(ctx context.Context, o *Options, _ int) (*loop, error) {
	l := &loop{}
	options, err := redisgo.ParseURL(o.Redis)
	if err != nil {
		return l, err
	}
	c := redisgo.NewClient(options)
	l.clean.add(func() { c.Close() })
	acks := c.Subscribe(ctx, benchPrefix+":bare:acks")
	l.clean.add(func() { acks.Close() })
	if _, err := acks.Receive(ctx); err != nil {
		return l, err
	}
	if _, err := l.startBare(o, "bare-redis", o.Redis, 1); err != nil {
		return l, err
	}
	await := func(ctx context.Context) error {
		m, err := acks.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		var a answer
		return json.Unmarshal([]byte(m.Payload), &a)
	}
	l.roundTrip = func(ctx context.Context) error {
		if err := c.Publish(ctx, benchPrefix+":bare:commands", probeData).Err(); err != nil {
			return err
		}
		return await(ctx)
	}
	for end := time.Now().Add(readyTime); time.Now().Before(end); time.Sleep(time.Millisecond) {
		n, err := c.Publish(ctx, benchPrefix+":bare:commands", probeData).Result()
		if err != nil {
			return l, err
		}
		if n > 0 {
			return l, await(ctx)
		}
	}
	return l, errors.New("the agent does not subscribe")
}

func bareRedisAgent(url string, _ int) error {
	ctx := context.Background()
	o, err := redisgo.ParseURL(url)
	if err != nil {
		return err
	}
	c := redisgo.NewClient(o)
	commands := c.Subscribe(ctx, benchPrefix+":bare:commands")
	for {
		m, err := commands.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		data, err := answerTo([]byte(m.Payload))
		if err == nil {
			err = c.Publish(ctx, benchPrefix+":bare:acks", data).Err()
		}
		if err != nil {
			return err
		}
	}
}

// bareRabbitMQ is a queue each way, without confirms.
func bareRabbitMQ(ctx context.Context, o *Options, _ int) (*loop, error) {
	l := &loop{}
	conn, err := amqp.Dial(o.AMQP)
	if err != nil {
		return l, err
	}
	l.clean.add(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		return l, err
	}
	acks, err := ch.QueueDeclare(benchPrefix+"-acks-"+uuid.NewString(), false, true, true, false, nil)
	if err != nil {
		return l, err
	}
	in, err := ch.Consume(acks.Name, "", true, true, false, false, nil)
	if err != nil {
		return l, err
	}
	if _, err := ch.QueueDeclare(bareQueue, false, true, false, false, nil); err != nil {
		return l, err
	}
	if _, err := ch.QueuePurge(bareQueue, false); err != nil {
		return l, err
	}
	if _, err := l.startBare(o, "bare-rabbitmq", o.AMQP, 1); err != nil {
		return l, err
	}
	l.roundTrip = func(ctx context.Context) error {
		if err := ch.PublishWithContext(ctx, "", bareQueue, false, false, amqp.Publishing{Body: probeData, ReplyTo: acks.Name}); err != nil {
			return err
		}
		select {
		case m := <-in:
			var a answer
			return json.Unmarshal(m.Body, &a)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return l, l.roundTrip(ctx)
}

const bareQueue = benchPrefix + "-commands"

func bareRabbitMQAgent(url string, _ int) error {
	conn, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	in, err := ch.Consume(bareQueue, "", true, false, false, false, nil)
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
