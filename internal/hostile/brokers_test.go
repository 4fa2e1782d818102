package hostile

import (
	"context"
	"fmt"
	"io"
	"maps"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	natsgo "github.com/nats-io/nats.go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/redis"
)

// overBroker is what a controller that means harm says over a broker, frame by frame, and then goodbye.
func overBroker() map[string][]string {
	all := maps.Clone(said)
	all["a frame like no other"] = []string{welcome, `"taken":{"of":1},"commands":[{}],"close":{"code":"moved"}}`}
	all["frames by thousands, at once"] = append([]string{welcome}, repeat(`"later":"`+strings.Repeat("x", 100<<10)+`"`, 400)...)
	return all
}

// numbered are the messages of frames.
func numbered(frames []string) (messages [][]byte) {
	for i, f := range frames {
		messages = append(messages, fmt.Appendf(nil, `{"n":%d,%s}`, i+1, f))
	}
	return append(messages, nil) // goodbye
}

// takesOver has the controller that means harm do it, and then the one that means well listen until the end of the
// test.
func takesOver(t *testing.T, c *controller.Controller, harm func() error, listen func() (io.Closer, error)) {
	t.Helper()
	listening := make(chan io.Closer, 1)
	go func() {
		defer close(listening)
		if err := harm(); err != nil {
			t.Errorf("the agent did not meet the harm: %v", err)
			return
		}
		l, err := listen()
		if err != nil {
			t.Error(err)
			return
		}
		listening <- l
	}()
	t.Cleanup(func() {
		c.Close()
		if l := <-listening; l != nil {
			l.Close()
		}
	})
}

func TestControllerOverNATS(t *testing.T) {
	harm := func(t *testing.T, say func(conn *natsgo.Conn, to string) error) {
		check := prepare(t)
		url := natsServer(t)
		c := controller.New(memory.New(), controller.Options{})
		conn, err := natsgo.Connect(url)
		require.NoError(t, err)
		sub, err := conn.SubscribeSync("miglink.hello.*")
		require.NoError(t, err)
		require.NoError(t, conn.Flush())
		takesOver(t, c, func() error {
			defer conn.Close()
			for range times {
				hello, err := sub.NextMsgWithContext(t.Context())
				if err != nil {
					return err
				}
				if err = say(conn, hello.Reply); err != nil {
					return err
				}
			}
			if err := sub.Drain(); err != nil {
				return err
			}
			for { // who came meanwhile would wait for an answer
				hello, err := sub.NextMsgWithContext(t.Context())
				if err != nil {
					return nil //nolint:nilerror // it has been drained
				}
				_ = conn.Publish(hello.Reply, nil)
			}
		}, func() (io.Closer, error) {
			return nats.Listen(context.Background(), url, c, nats.ListenOptions{})
		})
		tr, err := nats.New(url, nats.Options{})
		require.NoError(t, err)
		check(c, tr, 12)
	}
	for name, frames := range overBroker() {
		t.Run(name, func(t *testing.T) {
			harm(t, func(conn *natsgo.Conn, to string) error {
				for _, m := range numbered(frames) {
					part := int(conn.MaxPayload()) / 2
					for ; len(m) > part; m = m[part:] {
						if err := conn.PublishMsg(&natsgo.Msg{Subject: to, Data: m[:part], Header: natsgo.Header{"Miglink-More": {"1"}}}); err != nil {
							return err
						}
					}
					if err := conn.Publish(to, m); err != nil {
						return err
					}
				}
				return conn.Flush()
			})
		})
	}
	t.Run("parts without end", func(t *testing.T) {
		harm(t, func(conn *natsgo.Conn, to string) error {
			for range 200 {
				if err := conn.PublishMsg(&natsgo.Msg{Subject: to, Data: make([]byte, 100<<10), Header: natsgo.Header{"Miglink-More": {"1"}}}); err != nil {
					return err
				}
			}
			return conn.Flush()
		})
	})
}

func TestControllerOverRedis(t *testing.T) {
	for name, frames := range overBroker() {
		t.Run(name, func(t *testing.T) {
			check := prepare(t)
			server := miniredis.NewMiniRedis()
			require.NoError(t, server.Start())
			t.Cleanup(server.Close)
			url := "redis://" + server.Addr()
			c := controller.New(memory.New(), controller.Options{})
			conn := goredis.NewClient(&goredis.Options{Addr: server.Addr(), DisableIdentity: true})
			sub := conn.PSubscribe(t.Context(), "miglink:hello:*")
			_, err := sub.Receive(t.Context())
			require.NoError(t, err)
			down := func(hello *goredis.Message) string { return strings.Replace(hello.Channel, ":hello:", ":down:", 1) }
			takesOver(t, c, func() error {
				defer conn.Close()
				defer sub.Close()
				for range times {
					hello, err := sub.ReceiveMessage(t.Context())
					if err != nil {
						return err
					}
					for _, m := range numbered(frames) {
						if err := conn.Publish(t.Context(), down(hello), m).Err(); err != nil {
							return err
						}
					}
				}
				if err := sub.PUnsubscribe(t.Context()); err != nil {
					return err
				}
				for { // who came meanwhile would wait for an answer
					m, err := sub.Receive(t.Context())
					if err != nil {
						return err
					}
					hello, ok := m.(*goredis.Message)
					if !ok {
						return nil
					}
					conn.Publish(t.Context(), down(hello), nil)
				}
			}, func() (io.Closer, error) {
				return redis.Listen(context.Background(), url, c, redis.ListenOptions{})
			})
			tr, err := redis.New(url, redis.Options{})
			require.NoError(t, err)
			check(c, tr, 12)
		})
	}
}
