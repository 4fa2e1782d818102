package hostile

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	goredis "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
)

// heard is a controller that listens at a broker; say is how whoever may publish there says a hello.
type heard struct {
	listen func(to transport.Transport, a transport.Authenticator, log *slog.Logger) (io.Closer, error)
	say    func(vm, session, frame string) error
}

func overRedis(t *testing.T) heard {
	server := miniredis.RunT(t)
	c := goredis.NewClient(&goredis.Options{Addr: server.Addr(), DisableIdentity: true})
	t.Cleanup(func() { c.Close() })
	return heard{func(to transport.Transport, a transport.Authenticator, log *slog.Logger) (io.Closer, error) {
		return redis.Listen(t.Context(), "redis://"+server.Addr(), to, redis.ListenOptions{Authenticator: a, Log: log})
	}, func(vm, session, frame string) error {
		return c.Publish(t.Context(), "miglink:hello:"+vm+":"+session, frame).Err()
	}}
}

func overRabbitMQ(t *testing.T) heard {
	url := os.Getenv("MIGLINK_TEST_AMQP")
	if url == "" {
		url = "amqp://guest:guest@127.0.0.1:5672"
	}
	conn, err := amqp.Dial(url)
	needs.Machine(t, err, "no RabbitMQ broker where MIGLINK_TEST_AMQP says, or on 127.0.0.1:5672")
	ch, err := conn.Channel()
	require.NoError(t, err)
	prefix := "miglink-" + uuid.NewString()
	t.Cleanup(func() {
		require.NoError(t, ch.ExchangeDelete(prefix, false, false))
		conn.Close()
	})
	return heard{func(to transport.Transport, a transport.Authenticator, log *slog.Logger) (io.Closer, error) {
		return rabbitmq.Listen(t.Context(), url, to, rabbitmq.ListenOptions{Prefix: prefix, Authenticator: a, Log: log})
	}, func(vm, session, frame string) error {
		return ch.PublishWithContext(t.Context(), prefix, "hello."+vm+"."+session, false, false, amqp.Publishing{
			Body: []byte(frame), ReplyTo: prefix + ".down." + vm + ".s",
		})
	}}
}

func overPubSub(t *testing.T) heard {
	s := pstest.NewServer()
	t.Cleanup(func() { s.Close() })
	at := []option.ClientOption{
		option.WithEndpoint(s.Addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(googlegrpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	return heard{func(to transport.Transport, a transport.Authenticator, log *slog.Logger) (io.Closer, error) {
		return gcppubsub.Listen(t.Context(), "gcppubsub://p", to, gcppubsub.ListenOptions{Google: at, Authenticator: a, Log: log})
	}, func(vm, session, frame string) error {
		s.PublishOrdered("projects/p/topics/miglink-hello", []byte(frame), map[string]string{"vm": vm, "session": session, "n": "1"}, vm)
		return nil
	}}
}

// TestLogOverBrokers is TestLogOfAStranger and TestLogOfAVM where a broker is in between: strangers say hellos that are
// refused, or are none, and then a VM with good credentials dials again and again, as a newer instance of itself.
func TestLogOverBrokers(t *testing.T) {
	for name, over := range map[string]func(*testing.T) heard{"redis": overRedis, "rabbitmq": overRabbitMQ, "gcppubsub": overPubSub} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, logs: &buffer{}}
			log := slog.New(slog.NewTextHandler(w.logs, nil))
			w.c = controller.New(memory.New(), controller.Options{Log: log})
			defer w.c.Close()
			var passed atomic.Int64
			h := over(t)
			l, err := h.listen(w.c, transport.AuthenticatorFunc(func(ctx context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
				grant, err := w.only(ctx, vm, c)
				if err == nil {
					passed.Add(1)
				}
				return grant, err
			}), log)
			require.NoError(t, err)
			defer l.Close()
			f := &flood{w: w, began: time.Now()}
			say := func(vm, session, frame string) {
				f.sent += len(frame)
				require.NoError(t, h.say(vm, session, frame))
			}
			bad := `{"n":1,"close":{"code":"moved","message":"` + strings.Repeat(`\u001b`, 9<<10) + `"}}`
			const strangers, dials = 200, 60
			for i := range strangers {
				say(fmt.Sprint("vm-", i), fmt.Sprint("a", i), bad)
				say(fmt.Sprint("vm-", i), fmt.Sprint("b", i), nasty)
				say(fmt.Sprint("vm-", i), fmt.Sprint("c", i), `{"n":1,"hello":{"version":1,"token":"no token"}}`)
				say("=zz", fmt.Sprint("d", i), bad)
			}
			for i := range dials { // one after another: of those that come at once, only some are looked at
				say("bad", fmt.Sprint("e", i), fmt.Sprintf(`{"n":1,"hello":{"version":1,"token":"bad","instance":"%d"}}`, i))
				require.Eventually(t, func() bool { return passed.Load() > int64(i) }, patience, time.Millisecond)
			}
			require.Eventually(t, func() bool { return w.refused.Load() >= strangers }, patience, 10*time.Millisecond)
			f.judge(t, 20+5) // of strangers, and of one VM
		})
	}
}
