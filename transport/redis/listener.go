package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
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
	// TLS is for rediss, and an error for redis. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Redis changes the library's own options, for credentials. What it says of TLS counts. It is called once: for a password
	// that changes set CredentialsProviderContext.
	Redis func(*redis.Options)
	// Authenticator lets the hello of a VM pass, or says why not. Default: whoever may publish it passes.
	Authenticator transport.Authenticator
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 15 s.
	Keepalive time.Duration
	// RetryOnFailedConnect has Listen return a Listener also where it cannot connect: it goes on trying, as it does
	// after a loss. Default: Listen returns why it cannot.
	RetryOnFailedConnect bool
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a Redis server. Make one with Listen, end it with Close.
type Listener struct {
	settings
	links *broker.Server
	out   *redis.Client
	once  sync.Once // for what is said over the first connection
}

// Listen connects to the server at url and serves t to the agents that dial it, until Close. The context
// bounds the first attempt to connect, which also tries what will be needed. A connection that is lost later
// ends its links and is made anew for as long as it takes, with pauses of at most 8 s, whatever the server says: Ready
// tells whether there is one.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.Redis)
	if err == nil {
		err = s.check(url, secure.Use{TLS: o.TLS != nil}, o.Log)
	}
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
	if err := broker.Keep(ctx, l.links, o.RetryOnFailedConnect, l.connect, l.receive); err != nil {
		l.Close()
		return nil, err
	}
	l.links.TryLimit(limits, l.tryLimit)
	return l, nil
}

// intake is what comes over one connection.
type intake struct {
	*subscriber
	mu    sync.Mutex
	links map[string]*incoming // by channel
}

// incoming is a link of a controller.
type incoming struct {
	*broker.Pipe
	answers    atomic.Bool   // this controller does: it has claimed the hello, or refused it
	subscribed chan struct{} // holds one when the server has taken the subscription to its channel
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
	l.once.Do(func() {
		if err := l.out.Publish(ctx, l.started(), "").Err(); err != nil {
			l.links.Log.Warn("cannot say that this controller has started: agents of one that has died notice its silence", "error", bare(err))
		}
	})
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
				select {
				case link.subscribed <- struct{}{}:
				default:
				}
			}
		case *redis.Message:
			if m.Pattern != "" {
				l.greet(in, m)
			} else if link := in.at(m.Channel); link != nil {
				link.DeliverString(m.Payload)
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

// greet answers a hello, if no other controller does. Every controller hears every hello and looks at its credentials;
// one of those that find them good claims it, and opens the link. The others say nothing. A hello that is refused is
// refused by each: a claim that says who tells it would be something that strangers can make.
func (l *Listener) greet(in *intake, m *redis.Message) {
	link := strings.TrimPrefix(m.Channel, l.hello(""))
	token, session, _ := strings.Cut(link, ":")
	vm, err := broker.VM(token)
	if err != nil || !broker.Session(session) {
		l.links.Senseless(slog.String("channel", m.Channel))
		return
	}
	greeting := l.links.Greet(vm, len(m.Payload))
	if greeting == nil {
		return
	}
	up := l.up(link)
	i := &incoming{subscribed: make(chan struct{}, 1)}
	i.Pipe = broker.NewPipe(broker.PipeOptions{
		Name:    "redis",
		Guarded: true,
		Publish: func(ctx context.Context, b []byte) error {
			if len(b) > 0 {
				i.answers.Store(true)
			} else if !i.answers.Load() {
				return nil // the agent would take it for the goodbye of the controller that has claimed it
			}
			return publish(ctx, l.out, l.down(link), b)
		},
		Open:    func(ctx context.Context) error { return in.open(ctx, up, i) },
		Release: func() { in.forget(up, i) },
	})
	i.DeliverString(m.Payload)
	l.links.Serve(greeting, i, broker.Hello{VM: vm, Claim: func(ctx context.Context) (bool, error) {
		ours, err := l.claimed(ctx, session)
		i.answers.Store(ours)
		return ours, err
	}})
}

// open subscribes to what the agent of a link will say, and returns when the server has it.
func (in *intake) open(ctx context.Context, channel string, i *incoming) error {
	in.mu.Lock()
	in.links[channel] = i
	in.mu.Unlock()
	if err := in.Subscribe(ctx, channel); err != nil {
		return bare(err)
	}
	select {
	case <-i.subscribed:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// forget is called at the end of every hello, also of one that opened no link. Its channel may be another link's: a client
// library says a hello again whose answer it has missed.
func (in *intake) forget(channel string, i *incoming) {
	in.mu.Lock()
	ours := in.links[channel] == i
	if ours {
		delete(in.links, channel)
	}
	in.mu.Unlock()
	if ours {
		_ = in.Unsubscribe(context.Background(), channel) // the connection may have ended first
	}
}

// claimed says whether a link is ours, and not another controller's.
func (l *Listener) claimed(ctx context.Context, session string) (bool, error) {
	err := l.out.SetArgs(ctx, l.claim(session), 1, redis.SetArgs{Mode: "NX", TTL: claimTime}).Err()
	if errors.Is(err, redis.Nil) {
		return false, nil
	}
	if err != nil {
		return false, bare(err)
	}
	return true, nil
}

// Ready returns nil while agents can dial over the broker, and else why there is no connection to it.
func (l *Listener) Ready() error { return l.links.Ready() }

// Close ends all links and the connections, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	return l.out.Close()
}
