package subjects

import (
	"context"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/uuid"
	natsio "github.com/nats-io/nats.go"
	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/conformance"
)

// brokerFrames is a conversation over a broker, the first message of which is the hello. An empty message says
// that its sender is gone.
type brokerFrames struct {
	hello, up func(b []byte) error
	recv      func() ([]byte, error)
	close     func()

	said   bool // hello
	closed sync.Once
}

func (f *brokerFrames) Send(b []byte) error {
	if f.said {
		return f.up(b)
	}
	f.said = true
	return f.hello(b)
}

func (f *brokerFrames) Recv() ([]byte, error) {
	b, err := f.recv()
	if err == nil && len(b) == 0 {
		err = io.EOF
	}
	return b, err
}

func (f *brokerFrames) Close() error {
	f.closed.Do(f.close)
	return nil
}

func framesNATS(env *conformance.Env, url string) {
	env.SpeakFrames(func(vm string) (conformance.Frames, error) {
		conn, err := natsio.Connect(url)
		if err != nil {
			return nil, err
		}
		link := vm + "." + uuid.NewString()
		in, err := conn.SubscribeSync("miglink.down." + link)
		if err != nil {
			conn.Close()
			return nil, err
		}
		return &brokerFrames{
			hello: func(b []byte) error { return conn.PublishRequest("miglink.hello."+vm, in.Subject, b) },
			up: func(b []byte) error {
				const part = 1 << 19
				for len(b) > part {
					m := natsio.NewMsg("miglink.up." + link)
					m.Header.Set("Miglink-More", "1")
					m.Data, b = b[:part], b[part:]
					if err := conn.PublishMsg(m); err != nil {
						return err
					}
				}
				return conn.Publish("miglink.up."+link, b)
			},
			recv: func() ([]byte, error) {
				m, err := in.NextMsgWithContext(env.Context())
				if err != nil {
					return nil, err
				}
				return m.Data, nil
			},
			close: conn.Close,
		}, nil
	})
}

func framesRedis(env *conformance.Env, server, prefix string) {
	env.SpeakFrames(func(vm string) (conformance.Frames, error) {
		o, err := goredis.ParseURL(server)
		if err != nil {
			return nil, err
		}
		client := goredis.NewClient(o)
		link := vm + ":" + uuid.NewString()
		in := client.Subscribe(env.Context(), prefix+":down:"+link)
		if _, err := in.Receive(env.Context()); err != nil {
			client.Close()
			return nil, err
		}
		publish := func(channel string) func([]byte) error {
			return func(b []byte) error {
				ctx, cancel := bounded(env)
				defer cancel()
				return client.Publish(ctx, prefix+channel+link, b).Err()
			}
		}
		return &brokerFrames{
			hello: publish(":hello:"), up: publish(":up:"),
			recv: func() ([]byte, error) {
				m, err := in.ReceiveMessage(env.Context())
				if err != nil {
					return nil, err
				}
				return []byte(m.Payload), nil
			},
			close: func() {
				in.Close()
				client.Close()
			},
		}, nil
	})
}

func framesRabbitMQ(env *conformance.Env, url, exchange string) {
	env.SpeakFrames(func(vm string) (conformance.Frames, error) {
		conn, err := amqp.Dial(url)
		if err != nil {
			return nil, err
		}
		link := vm + "." + uuid.NewString()
		ch, err := conn.Channel()
		var queue amqp.Queue
		if err == nil {
			queue, err = ch.QueueDeclare(exchange+".down."+link, false, true, true, false, nil)
		}
		var in <-chan amqp.Delivery
		if err == nil {
			in, err = ch.Consume(queue.Name, "", true, true, false, false, nil)
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		var up atomic.Value // the key that the controller has given, a string
		up.Store("up." + link)
		publish := func(key, replyTo string, b []byte) error {
			ctx, cancel := bounded(env)
			defer cancel()
			return ch.PublishWithContext(ctx, exchange, key, false, false, amqp.Publishing{ReplyTo: replyTo, Body: b})
		}
		return &brokerFrames{
			hello: func(b []byte) error { return publish("hello."+link, queue.Name, b) },
			up:    func(b []byte) error { return publish(up.Load().(string), "", b) },
			recv: func() ([]byte, error) {
				d, ok := <-in
				if !ok {
					return nil, io.ErrUnexpectedEOF
				}
				if d.ReplyTo != "" {
					up.Store(d.ReplyTo)
				}
				return d.Body, nil
			},
			close: func() { conn.Close() },
		}, nil
	})
}

func framesGCPPubSub(env *conformance.Env, addr string) {
	env.SpeakFrames(func(vm string) (conformance.Frames, error) {
		ctx, cancel := context.WithCancel(env.Context())
		f := &pubsubFrames{ctx: ctx, cancel: cancel, vm: vm, session: uuid.NewString()}
		var err error
		if f.topics, err = pubsub.NewTopicAdminClient(ctx, at(addr)...); err == nil {
			f.subs, err = pubsub.NewSubscriptionAdminClient(ctx, at(addr)...)
		}
		if err != nil {
			cancel()
			return nil, err
		}
		return f, nil
	})
}

// pubsubFrames numbers its messages, and looks for a subscription until the controller has made it.
type pubsubFrames struct {
	ctx         context.Context
	cancel      context.CancelFunc
	topics      *pubsub.TopicAdminClient
	subs        *pubsub.SubscriptionAdminClient
	vm, session string

	mu   sync.Mutex
	n    int
	to   string // whom the controller is known as
	got  int    // of the last message that came
	come [][]byte
}

func (f *pubsubFrames) Send(b []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	topic, key, attributes := "miglink-hello", f.vm, map[string]string{"session": f.session, "vm": f.vm}
	if f.n > 0 {
		topic, key, attributes = "miglink-up", f.session, map[string]string{"session": f.session, "to": f.to}
	}
	f.n++
	attributes["n"] = strconv.Itoa(f.n)
	_, err := f.topics.Publish(f.ctx, &pubsubpb.PublishRequest{
		Topic: "projects/p/topics/" + topic, Messages: []*pubsubpb.PubsubMessage{{Data: b, OrderingKey: key, Attributes: attributes}},
	})
	return err
}

func (f *pubsubFrames) Recv() ([]byte, error) {
	for len(f.come) == 0 {
		if err := f.pull(); err != nil {
			return nil, err
		}
	}
	b := f.come[0]
	f.come = f.come[1:]
	if len(b) == 0 {
		return nil, io.EOF
	}
	return b, nil
}

// pull takes what is there, and waits a little where nothing is yet.
func (f *pubsubFrames) pull() error {
	name := "projects/p/subscriptions/miglink-link-" + f.session
	r, err := f.subs.Pull(f.ctx, &pubsubpb.PullRequest{Subscription: name, MaxMessages: 100})
	if f.ctx.Err() != nil {
		return f.ctx.Err()
	}
	var done []string
	for _, m := range r.GetReceivedMessages() {
		done = append(done, m.AckId)
		f.take(m.Message)
	}
	if len(done) > 0 {
		return f.subs.Acknowledge(f.ctx, &pubsubpb.AcknowledgeRequest{Subscription: name, AckIds: done})
	}
	f.mu.Lock()
	ended := err != nil && f.to != ""
	f.mu.Unlock()
	if ended {
		return err
	}
	select {
	case <-time.After(10 * time.Millisecond):
		return nil
	case <-f.ctx.Done():
		return f.ctx.Err()
	}
}

func (f *pubsubFrames) take(m *pubsubpb.PubsubMessage) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := strconv.Atoi(m.Attributes["n"])
	if err != nil || n <= f.got {
		return
	}
	f.got, f.to = n, m.Attributes["from"]
	f.come = append(f.come, m.Data)
}

func (f *pubsubFrames) Close() error {
	f.cancel()
	f.topics.Close()
	return f.subs.Close()
}
