// Package subjects is the transports of this module as conformance subjects.
package subjects

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"
	amqp "github.com/rabbitmq/amqp091-go"
	"google.golang.org/api/option"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// keepalive is short, so that scenarios of dead peers take no minutes, and longer than a busy machine may let a
// process wait.
const keepalive = 500 * time.Millisecond

// deadAfter is the longest that any of them then takes: SSE's controller, to which an agent promises
// to be heard of once a second.
const deadAfter = 2500 * time.Millisecond

// All are no transport at all, each transport, and what they compose to.
func All() []conformance.Subject {
	return []conformance.Subject{
		InProcess(), WebSocket(), SSE(), LongPoll(), GRPC(), NATS(), Redis(), GCPPubSub(), Fallback(), Split(), Relay(),
		OnBolt(WebSocket()), OnBolt(LongPoll()),
	}
}

// OnBolt has the controller's ledger on a disk: writes take time, and contexts end meanwhile.
func OnBolt(s conformance.Subject) conformance.Subject {
	s.Name += "-bolt"
	s.Ledger = func() (ledger.Ledger, error) {
		dir, err := os.MkdirTemp("", "miglink-conformance-")
		if err != nil {
			return nil, err
		}
		l, err := bolt.Open(dir, bolt.Options{})
		if err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		return &temporary{l, dir}, nil
	}
	return s
}

// temporary is a ledger whose directory goes with it.
type temporary struct {
	*bolt.Ledger
	dir string
}

func (t *temporary) Close() error { return errors.Join(t.Ledger.Close(), os.RemoveAll(t.dir)) }

// InProcess is the controller dialled directly.
func InProcess() conformance.Subject {
	return conformance.Subject{
		Name:  "in-process",
		Facts: conformance.Facts{NoWire: true, NoAuth: true},
		Open: func(_ *conformance.Env, c transport.Transport) (transport.Transport, error) {
			return c, nil
		},
	}
}

// WebSocket is transport/ws.
func WebSocket() conformance.Subject {
	return overHTTP("ws", conformance.Facts{DeadAfter: deadAfter, Frames: true}, func(env *conformance.Env, url string) (transport.Transport, error) {
		framesWS(env)
		return openWS(env, url)
	})
}

// SSE is transport/sse.
func SSE() conformance.Subject {
	return overHTTP("sse", conformance.Facts{DeadAfter: deadAfter}, openSSE)
}

// LongPoll is transport/longpoll.
func LongPoll() conformance.Subject {
	return overHTTP("longpoll", conformance.Facts{DeadAfter: deadAfter, Polls: true}, openLongPoll)
}

// GRPC is transport/grpc, beside the others on one server.
func GRPC() conformance.Subject {
	return conformance.Subject{
		Name:  "grpc",
		Facts: conformance.Facts{DeadAfter: deadAfter, Frames: true},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			mux := http.NewServeMux()
			mux.Handle(grpc.Handler(c, grpc.HandlerOptions{Authenticator: env.Authenticator(), Keepalive: keepalive}))
			mux.Handle("/", web.Handler(c, web.Options{Authenticator: env.Authenticator(), Keepalive: keepalive}))
			url, err := env.ServeHTTP(mux)
			if err != nil {
				return nil, err
			}
			framesGRPC(env)
			return grpc.New(url, grpc.Options{Token: env.Token})
		},
	}
}

// NATS is transport/nats, over a broker of its own; faults are between the agent and the broker.
func NATS() conformance.Subject {
	return conformance.Subject{
		Name:  "nats",
		Facts: conformance.Facts{DeadAfter: deadAfter, NoHTTP: true, Frames: true},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			broker, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
			if err != nil {
				return nil, err
			}
			broker.Start()
			env.Cleanup(func() {
				broker.Shutdown()
				broker.WaitForShutdown()
			})
			if !broker.ReadyForConnections(10 * time.Second) {
				return nil, errors.New("the broker does not start")
			}
			l, err := nats.Listen(env.Context(), broker.ClientURL(), c, nats.ListenOptions{Authenticator: env.Authenticator(), Keepalive: keepalive})
			if err != nil {
				return nil, err
			}
			env.Cleanup(func() { l.Close() })
			addr, err := env.Proxy(broker.Addr().String())
			if err != nil {
				return nil, err
			}
			framesNATS(env, broker.ClientURL())
			return nats.New("nats://"+addr, nats.Options{Token: env.Token})
		},
	}
}

// Redis is transport/redis, over a server of its own, that is in this process.
func Redis() conformance.Subject {
	return conformance.Subject{
		Name:  "redis",
		Facts: conformance.Facts{DeadAfter: deadAfter, NoHTTP: true, Frames: true},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			s := miniredis.NewMiniRedis()
			if err := s.Start(); err != nil {
				return nil, err
			}
			env.Cleanup(s.Close)
			return openRedis(env, c, "redis://"+s.Addr())
		},
	}
}

// RedisAt is transport/redis over the server at url, as redis://host:6379.
func RedisAt(url string) conformance.Subject {
	s := Redis()
	s.Open = func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
		return openRedis(env, c, url)
	}
	return s
}

func openRedis(env *conformance.Env, c transport.Transport, server string) (transport.Transport, error) {
	prefix := "miglink-" + uuid.NewString()
	l, err := redis.Listen(env.Context(), server, c, redis.ListenOptions{Prefix: prefix, Authenticator: env.Authenticator(), Keepalive: keepalive})
	if err != nil {
		return nil, err
	}
	env.Cleanup(func() { l.Close() })
	proxied, err := proxy(env, server, "6379")
	if err != nil {
		return nil, err
	}
	framesRedis(env, server, prefix)
	return redis.New(proxied, redis.Options{Prefix: prefix, Token: env.Token})
}

// RabbitMQAt is transport/rabbitmq over the broker at url, as amqp://guest:guest@host:5672.
func RabbitMQAt(url string) conformance.Subject {
	return conformance.Subject{
		Name:  "rabbitmq",
		Facts: conformance.Facts{DeadAfter: deadAfter, NoHTTP: true, Frames: true},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			prefix := "miglink-" + uuid.NewString()
			l, err := rabbitmq.Listen(env.Context(), url, c, rabbitmq.ListenOptions{Prefix: prefix, Authenticator: env.Authenticator(), Keepalive: keepalive})
			if err != nil {
				return nil, err
			}
			env.Cleanup(func() {
				l.Close()
				_ = deleteExchange(url, prefix) // it stays else; nobody minds much
			})
			proxied, err := proxy(env, url, "5672")
			if err != nil {
				return nil, err
			}
			framesRabbitMQ(env, url, prefix)
			return rabbitmq.New(proxied, rabbitmq.Options{Prefix: prefix, Token: env.Token})
		},
	}
}

func deleteExchange(url, name string) error {
	c, err := amqp.Dial(url)
	if err != nil {
		return err
	}
	defer c.Close()
	ch, err := c.Channel()
	if err != nil {
		return err
	}
	return ch.ExchangeDelete(name, false, false)
}

// GCPPubSub is transport/gcppubsub, over the fake server of Google's library, that is in this process. It
// delivers about a hundred messages a second to each subscription, in no fair order: links need patience.
func GCPPubSub() conformance.Subject {
	const keepalive, deadAfter = time.Second, 5 * time.Second
	return conformance.Subject{
		Name:  "gcppubsub",
		Facts: conformance.Facts{DeadAfter: deadAfter, NoHTTP: true, Frames: true, Untold: true},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			s := pstest.NewServer()
			env.Cleanup(func() { s.Close() })
			env.CountOpened(func() (int, error) { return linksOf(env.Context(), s) })
			l, err := gcppubsub.Listen(env.Context(), "gcppubsub://p", c, gcppubsub.ListenOptions{Google: at(s.Addr), Authenticator: env.Authenticator(), Keepalive: keepalive})
			if err != nil {
				return nil, err
			}
			env.Cleanup(func() { l.Close() })
			addr, err := env.Proxy(s.Addr)
			if err != nil {
				return nil, err
			}
			framesGCPPubSub(env, s.Addr)
			return gcppubsub.New("gcppubsub://p", gcppubsub.Options{Google: at(addr), Token: env.Token})
		},
	}
}

// linksOf counts the topics and subscriptions of links.
func linksOf(ctx context.Context, s *pstest.Server) (n int, err error) {
	topics, err := s.GServer.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/p"})
	if err != nil {
		return 0, err
	}
	for _, t := range topics.Topics {
		if strings.Contains(t.Name, "/miglink-link-") {
			n++
		}
	}
	subs, err := s.GServer.ListSubscriptions(ctx, &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"})
	if err != nil {
		return 0, err
	}
	for _, sub := range subs.Subscriptions {
		if strings.Contains(sub.Name, "/miglink-link-") {
			n++
		}
	}
	return n, nil
}

func at(addr string) []option.ClientOption {
	return []option.ClientOption{
		option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(googlegrpc.WithTransportCredentials(insecure.NewCredentials())),
	}
}

// proxy is server's URL with a proxy of the environment's in front of it.
func proxy(env *conformance.Env, server, port string) (string, error) {
	u, err := url.Parse(server)
	if err != nil {
		return "", err
	}
	if u.Port() != "" {
		port = u.Port()
	}
	u.Host, err = env.Proxy(net.JoinHostPort(u.Hostname(), port))
	return u.String(), err
}

// Fallback is the three, in that order.
func Fallback() conformance.Subject {
	return overHTTP("fallback", conformance.Facts{DeadAfter: deadAfter, DialsPerAttempt: 3}, func(env *conformance.Env, url string) (transport.Transport, error) {
		ways := []transport.Way{{Name: "ws"}, {Name: "sse"}, {Name: "longpoll"}}
		for i, open := range []func(*conformance.Env, string) (transport.Transport, error){openWS, openSSE, openLongPoll} {
			var err error
			if ways[i].Transport, err = open(env, url); err != nil {
				return nil, err
			}
		}
		return transport.NewFallback(transport.FallbackOptions{Stable: time.Millisecond}, ways...), nil
	})
}

// Split has commands down by SSE and acks up by WebSocket.
func Split() conformance.Subject {
	return overHTTP("split", conformance.Facts{DeadAfter: deadAfter}, func(env *conformance.Env, url string) (transport.Transport, error) {
		down, err := openSSE(env, url)
		if err != nil {
			return nil, err
		}
		up, err := openWS(env, url)
		if err != nil {
			return nil, err
		}
		return transport.Split(down, up), nil
	})
}

// Relay is an edge that takes SSE, in front of a controller that is reached by WebSocket.
func Relay() conformance.Subject {
	return conformance.Subject{
		Name:  "relay",
		Facts: conformance.Facts{DeadAfter: deadAfter},
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			inner, err := env.ServeHTTP(web.Handler(c, web.Options{Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			hop, err := openWS(env, inner)
			if err != nil {
				return nil, err
			}
			edge, err := env.ServeHTTP(web.Handler(hop, web.Options{Authenticator: env.Authenticator(), Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			return openSSE(env, edge)
		},
	}
}

func overHTTP(name string, f conformance.Facts, open func(env *conformance.Env, url string) (transport.Transport, error)) conformance.Subject {
	return conformance.Subject{
		Name:  name,
		Facts: f,
		Open: func(env *conformance.Env, c transport.Transport) (transport.Transport, error) {
			url, err := env.ServeHTTP(web.Handler(c, web.Options{Authenticator: env.Authenticator(), Keepalive: keepalive}))
			if err != nil {
				return nil, err
			}
			return open(env, url)
		},
	}
}

func openWS(env *conformance.Env, url string) (transport.Transport, error) {
	return ws.New(url, ws.Options{Token: env.Token})
}

func openSSE(env *conformance.Env, url string) (transport.Transport, error) {
	return sse.New(url, sse.Options{Keepalive: keepalive, Token: env.Token})
}

func openLongPoll(env *conformance.Env, url string) (transport.Transport, error) {
	return longpoll.New(url, longpoll.Options{Wait: keepalive, Grace: 2 * keepalive, Token: env.Token})
}
