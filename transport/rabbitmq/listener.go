package rabbitmq

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
)

// helloTTL is how long a hello waits for a controller, in milliseconds. Who said it has given up then.
const helloTTL = 10_000

// lookEvery is how often a controller that publishes nothing to the exchange looks whether it is there: it goes
// with all bindings, and nobody could say hello.
const lookEvery = 15 * time.Second

// ListenOptions are optional.
type ListenOptions struct {
	// Prefix names the exchange, and begins the names of queues. Default: miglink.
	Prefix string
	// TLS is for amqps. Default: Go's, with the files that the URL's query names. Where no MinVersion is set,
	// TLS 1.3 is the least.
	TLS *tls.Config
	// AMQP changes the library's own configuration, for credentials. What it says of TLS counts.
	AMQP func(*amqp.Config)
	// Authenticator lets the hello of a VM pass, or says why not. The Credentials' User is the hello's
	// user-id, which the broker has checked, where there is one. Default: whoever may publish it passes.
	Authenticator transport.Authenticator
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 15 s.
	Keepalive time.Duration
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a broker. Make one with Listen, end it with Close.
type Listener struct {
	settings
	links   *broker.Server
	current atomic.Pointer[intake] // the last connection

	mu    sync.Mutex
	pipes map[string]*broker.Pipe // by VM.SESSION
}

// Listen connects to the broker at url and serves t to the agents that dial it, until Close. The context
// bounds the attempt to connect. A connection that is lost later ends its links and is made anew for as
// long as it takes.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.AMQP)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		settings: s,
		links:    broker.NewServer(t, broker.ServerOptions{Name: "rabbitmq", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		pipes:    map[string]*broker.Pipe{},
	}
	in, err := l.connect(ctx)
	if err != nil {
		return nil, err
	}
	l.links.Go(func() { broker.Keep(l.links, in, l.connect, l.receive) })
	return l, nil
}

// intake is a connection with what comes over it.
type intake struct {
	*connection
	hellos, ups <-chan amqp.Delivery
	queue       string // of ups

	mu       sync.Mutex // one call at a time
	bindings *amqp.Channel
}

func (l *Listener) connect(ctx context.Context) (*intake, error) {
	in := &intake{queue: l.exchange + ".up." + uuid.NewString()}
	c, err := l.settings.connect(ctx, "miglink controller", l.returned, func(c *connection) (err error) {
		if err = c.in.ExchangeDeclare(l.exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
			return err
		}
		if in.bindings, err = c.Channel(); err != nil {
			return err
		}
		if in.ups, err = c.consume(in.queue); err != nil {
			return err
		}
		hellos := l.exchange + ".hello"
		if _, err = c.in.QueueDeclare(hellos, true, true, false, false, amqp.Table{"x-message-ttl": int32(helloTTL)}); err != nil {
			return err
		}
		if err = c.in.QueueBind(hellos, "hello.#", l.exchange, false, nil); err != nil {
			return err
		}
		in.hellos, err = c.in.Consume(hellos, "", true, false, false, false, nil)
		return err
	})
	if err != nil {
		return nil, err
	}
	in.connection = c
	l.current.Store(in)
	return in, nil
}

// receive hands on what comes, until the connection ends. At the end of ctx it leaves the connection to
// the goodbyes, and to Close.
func (l *Listener) receive(ctx context.Context, in *intake) error {
	err := l.handOn(ctx, in)
	if ctx.Err() == nil {
		in.close()
	}
	return err
}

func (l *Listener) handOn(ctx context.Context, in *intake) error {
	blocked := in.NotifyBlocked(make(chan amqp.Blocking, 1))
	closed := in.bindings.NotifyClose(make(chan *amqp.Error, 1))
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			l.links.Go(in.look)
		case m, ok := <-in.hellos:
			if !ok { // the queue was deleted, or all has ended
				return in.why(broker.ErrLost)
			}
			l.greet(in, &m)
		case m, ok := <-in.ups:
			if !ok {
				return in.why(broker.ErrLost)
			}
			if p := l.pipe(strings.TrimPrefix(m.RoutingKey, "up.")); p != nil {
				p.Deliver(m.Body)
			}
		case b, ok := <-blocked:
			if !ok {
				return in.why(broker.ErrLost)
			}
			l.links.Log.Warn("the broker takes no messages", "blocked", b.Active, "reason", b.Reason)
		case err := <-closed:
			return fmt.Errorf("a channel was closed: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// returned is called for what no queue has taken.
func (l *Listener) returned(key string) {
	if p := l.pipe(strings.TrimPrefix(key, l.down(""))); p != nil {
		p.Fail(broker.ErrGone)
	}
}

func (l *Listener) pipe(link string) *broker.Pipe {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.pipes[link]
}

// greet begins a link.
func (l *Listener) greet(in *intake, hello *amqp.Delivery) {
	link := strings.TrimPrefix(hello.RoutingKey, "hello.")
	token, session, _ := strings.Cut(link, ".")
	vm, err := broker.VM(token)
	if err != nil || !broker.Session(session) {
		l.links.Log.Info("a hello that makes no sense", "routing_key", hello.RoutingKey)
		return
	}
	done, ok := l.links.Greet(vm)
	if !ok {
		return
	}
	p := broker.NewPipe(broker.PipeOptions{
		Name:    "rabbitmq",
		Guarded: true,
		// Also a goodbye over the connection that came after the link's.
		Publish: func(ctx context.Context, b []byte) error {
			return l.current.Load().publish(ctx, defaultExchange, l.down(link), b)
		},
		Release: func() { l.forget(in, link) },
	})
	l.mu.Lock()
	l.pipes[link] = p
	l.mu.Unlock()
	l.links.Serve(p, vm, transport.Credentials{User: hello.UserId}, done)
	l.links.Go(func() {
		if err := in.bind("up."+link, true); err != nil {
			l.links.Log.Error("cannot take a link", "vm_id", vm, "error", err)
			p.Close() // the agent is told, and dials again
			return
		}
		p.Deliver(hello.Body) // and what answers it finds a queue
	})
}

func (l *Listener) forget(in *intake, link string) {
	l.mu.Lock()
	delete(l.pipes, link)
	l.mu.Unlock()
	l.links.Go(func() {
		_ = in.bind("up."+link, false) // the connection may have ended first
		in.look()                      // the agent may have gone because of it
	})
}

// look has the broker close the channel of bindings where the exchange is gone, and the connection is made again.
func (in *intake) look() {
	in.mu.Lock()
	defer in.mu.Unlock()
	_ = in.bindings.ExchangeDeclarePassive(in.exchange, amqp.ExchangeTopic, true, false, false, false, nil) // handOn hears of it
}

// bind has the messages with key come to the controller's queue, or no more.
func (in *intake) bind(key string, on bool) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if on {
		return in.bindings.QueueBind(in.queue, key, in.exchange, false, nil)
	}
	return in.bindings.QueueUnbind(in.queue, key, in.exchange, nil)
}

// Close ends all links and the connection, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	l.current.Load().close()
	return nil
}
