package main

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	natsgo "github.com/nats-io/nats.go"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
)

// firstTry is how long the start waits for the first connections to brokers. Those that are not there by then are made
// later, and nothing else waits for them.
const firstTry = 5 * time.Second

// listener takes agents from a broker.
type listener interface {
	Ready() error
	Close() error
}

// urls are those of the brokers that are given, by transport.
func (c *controllerCmd) urls() map[string]string {
	urls := map[string]string{"nats": c.NATS, "redis": c.Redis, "rabbitmq": c.AMQP, "gcppubsub": c.GCPPubSub}
	maps.DeleteFunc(urls, func(_, url string) bool { return url == "" })
	return urls
}

func (c *controllerCmd) brokers() []string { return slices.Sorted(maps.Keys(c.urls())) }

// listenAtBrokers takes agents from all the brokers that are given. One that is away keeps nothing else from starting: it
// is tried again for as long as it takes. An error is a mistake in what was given.
func (c *controllerCmd) listenAtBrokers(ctx context.Context, ctl *controller.Controller, vms transport.Authenticator, health *health, log *slog.Logger) (closeAll func(), err error) {
	listen, err := c.listeners(ctl, vms, log)
	if err != nil {
		return nil, err
	}
	first, cancel := context.WithTimeout(ctx, firstTry)
	defer cancel()
	var mu sync.Mutex
	var open []listener
	var trying sync.WaitGroup
	for name, url := range c.urls() {
		trying.Go(func() {
			l, failed := listen[name](first, url)
			mu.Lock()
			defer mu.Unlock()
			if failed != nil {
				err = usage("--%s: %w", brokerFlags[name], failed)
				return
			}
			open = append(open, l)
			health.at(name, l.Ready)
		})
	}
	trying.Wait()
	closeAll = func() {
		for _, l := range open {
			l.Close()
		}
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		closeAll()
	}
	return closeAll, err
}

// listeners are how to listen at the broker of each transport.
func (c *controllerCmd) listeners(ctl *controller.Controller, vms transport.Authenticator, log *slog.Logger) (map[string]func(ctx context.Context, url string) (listener, error), error) {
	config, err := c.config(log, c.NATS, c.Redis, c.AMQP)
	if err != nil {
		return nil, err
	}
	in, err := c.rotated(log)
	if err != nil {
		return nil, err
	}
	return map[string]func(ctx context.Context, url string) (listener, error){
		"nats": func(ctx context.Context, url string) (listener, error) {
			return nats.Listen(ctx, url, ctl, nats.ListenOptions{Prefix: c.Prefix, TLS: config, NATS: []natsgo.Option{in["nats"].nats}, Authenticator: vms, Keepalive: c.Keepalive, RetryOnFailedConnect: true, Log: log})
		},
		"redis": func(ctx context.Context, url string) (listener, error) {
			return redis.Listen(ctx, url, ctl, redis.ListenOptions{Prefix: c.Prefix, TLS: config, Redis: in["redis"].redis, Authenticator: vms, Keepalive: c.Keepalive, RetryOnFailedConnect: true, Log: log})
		},
		"rabbitmq": func(ctx context.Context, url string) (listener, error) {
			return rabbitmq.Listen(ctx, url, ctl, rabbitmq.ListenOptions{Prefix: c.Prefix, TLS: config, AMQP: in["rabbitmq"].amqp, Authenticator: vms, Keepalive: c.Keepalive, RetryOnFailedConnect: true, Log: log})
		},
		"gcppubsub": func(ctx context.Context, url string) (listener, error) {
			return gcppubsub.Listen(ctx, url, ctl, gcppubsub.ListenOptions{Prefix: c.Prefix, Authenticator: vms, Keepalive: c.Keepalive, RetryOnFailedConnect: true, Log: log})
		},
	}, nil
}

// rotated are the URLs in --broker-file, by transport.
func (c *controllerCmd) rotated(log *slog.Logger) (map[string]*rotated, error) {
	if c.BrokerFile == "" {
		return nil, nil
	}
	now, err := brokersByTransport(c.BrokerFile)
	if err != nil {
		return nil, err
	}
	in := map[string]*rotated{}
	for name, url := range now {
		in[name] = &rotated{file: c.BrokerFile, url: url, log: log.With("component", name), read: func() (string, error) {
			of, err := brokersByTransport(c.BrokerFile)
			return of[name], err
		}}
	}
	return in, nil
}
