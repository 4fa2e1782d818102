package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
)

const (
	claimTime  = time.Minute
	publishers = 8                // connections; fewer than the tries of a goodbye
	pingEvery  = 15 * time.Second // the connection that hears hellos is else silent where no agent is
)

// ListenOptions are optional.
type ListenOptions struct {
	// Prefix of all channels and keys. Default: miglink.
	Prefix string
	// TLS is for rediss. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Redis changes the library's own options, for credentials. What it says of TLS counts.
	Redis func(*redis.Options)
	// Authenticator lets the hello of a VM pass, or says why not. Default: whoever may publish it passes.
	Authenticator transport.Authenticator
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 15 s.
	Keepalive time.Duration
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a Redis server. Make one with Listen, end it with Close.
type Listener struct {
	settings
	links *broker.Server
	out   *redis.Client
}

// Listen connects to the server at url and serves t to the agents that dial it, until Close. The context
// bounds the attempt to connect, which also tries what will be needed. A connection that is lost later
// ends its links and is made anew for as long as it takes.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.Redis)
	if err != nil {
		return nil, err
	}
	s.options.PoolSize = publishers
	s.options.PoolTimeout = time.Minute // all agents may dial at once
	l := &Listener{
		settings: s,
		links:    broker.NewServer(t, broker.ServerOptions{Name: "redis", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		out:      s.client("miglink-controller"),
	}
	in, err := l.connect(ctx)
	if err != nil {
		l.Close()
		return nil, err
	}
	l.links.Go(func() { broker.Keep(l.links, in, l.connect, l.receive) })
	return l, nil
}

// intake is what comes over one connection.
type intake struct {
	*subscriber
	mu    sync.Mutex
	links map[string]*incoming // by channel
}

// incoming is a link of a controller. It begins with its hello, which it gets when its channel is
// subscribed to: the agent hears nothing before, and answers nothing that would be lost.
type incoming struct {
	*broker.Pipe
	hello []byte
}

// connect subscribes to the hellos, and tries everything that a link will need: a permission that is
// missing is better missed now.
func (l *Listener) connect(ctx context.Context) (*intake, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	in := &intake{subscriber: l.subscriber("miglink-controller"), links: map[string]*incoming{}}
	trial := "=:" + uuid.NewString() // no VM has this name
	err := in.Subscribe(ctx, l.up(trial))
	if err == nil {
		err = in.await(ctx, 1)
	}
	if err == nil {
		err = in.Unsubscribe(ctx, l.up(trial))
	}
	if err == nil {
		err = l.out.Publish(ctx, l.down(trial), "").Err()
	}
	if err == nil {
		err = l.out.SetArgs(ctx, l.claim(trial), 1, redis.SetArgs{TTL: time.Millisecond}).Err()
	}
	if err == nil {
		err = in.PSubscribe(ctx, l.hello("*")) // the last: hellos may follow
	}
	if err == nil {
		err = in.await(ctx, 2) // with that of Unsubscribe
	}
	if err != nil {
		in.close()
		return nil, fmt.Errorf("redis: %w", bare(err))
	}
	return in, nil
}

// receive hands on what comes, until the connection ends.
func (l *Listener) receive(ctx context.Context, in *intake) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, in.close)()
	l.links.Go(func() { in.ping(ctx) })
	defer in.close()
	for {
		m, err := in.ReceiveTimeout(ctx, 2*pingEvery)
		if err != nil {
			return bare(err)
		}
		switch m := m.(type) {
		case *redis.Subscription:
			if link := in.at(m.Channel); link != nil && m.Kind == "subscribe" {
				link.Deliver(link.hello)
			}
		case *redis.Message:
			if m.Pattern != "" {
				l.greet(in, m)
			} else if link := in.at(m.Channel); link != nil {
				link.Deliver([]byte(m.Payload))
			}
		}
	}
}

func (in *intake) ping(ctx context.Context) {
	every := time.NewTicker(pingEvery)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			if in.Ping(ctx) != nil {
				return // and nothing more is received
			}
		case <-ctx.Done():
			return
		}
	}
}

func (in *intake) at(channel string) *incoming {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.links[channel]
}

// greet answers a hello, if no other controller does.
func (l *Listener) greet(in *intake, m *redis.Message) {
	link := strings.TrimPrefix(m.Channel, l.hello(""))
	token, session, _ := strings.Cut(link, ":")
	vm, err := broker.VM(token)
	if err != nil || !broker.Session(session) {
		l.links.Log.Info("a hello that makes no sense", "channel", m.Channel)
		return
	}
	done, ok := l.links.Greet(vm)
	if !ok {
		return
	}
	up := l.up(link)
	i := &incoming{hello: []byte(m.Payload), Pipe: broker.NewPipe(broker.PipeOptions{
		Name:    "redis",
		Guarded: true,
		Publish: func(ctx context.Context, b []byte) error { return publish(ctx, l.out, l.down(link), b) },
		Release: func() { in.forget(up) },
	})}
	l.links.Go(func() {
		ours, err := l.claimed(session)
		if !ours {
			done()
		} else {
			in.mu.Lock()
			in.links[up] = i
			in.mu.Unlock()
			l.links.Serve(i, vm, transport.Credentials{}, done)
			err = in.Subscribe(l.links.Context(), up)
		}
		if err != nil {
			l.links.Log.Error("cannot take a link", "vm_id", vm, "error", bare(err))
			i.Close() // the agent is told, and dials again
		}
	})
}

func (in *intake) forget(channel string) {
	in.mu.Lock()
	_, known := in.links[channel]
	delete(in.links, channel)
	in.mu.Unlock()
	if known {
		_ = in.Unsubscribe(context.Background(), channel) // the connection may have ended first
	}
}

// claimed says whether a link is ours, and not another controller's.
func (l *Listener) claimed(session string) (bool, error) {
	ctx, cancel := context.WithTimeout(l.links.Context(), claimTime/2)
	defer cancel()
	err := l.out.SetArgs(ctx, l.claim(session), 1, redis.SetArgs{Mode: "NX", TTL: claimTime}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	return err == nil, err
}

// Close ends all links and the connections, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	return l.out.Close()
}
