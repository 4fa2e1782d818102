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
	"github.com/miglink/miglink/internal/secure"
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
	// TLS is for amqps, and an error for amqp. Default: Go's, with the files that the URL's query names. Where no MinVersion is set,
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
	// RetryOnFailedConnect has Listen return a Listener also where it cannot connect: it goes on trying, as it does
	// after a loss. Default: Listen returns why it cannot.
	RetryOnFailedConnect bool
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a broker. Make one with Listen, end it with Close.
type Listener struct {
	settings
	server  *broker.Server
	current atomic.Pointer[intake] // the last connection; nil before the first
	told    bool                   // that this controller has started; of the goroutine that connects

	mu    sync.Mutex
	links map[string]*incoming // by VM.SESSION
}

// incoming is a link of a controller.
type incoming struct {
	*broker.Pipe
	user  string // of the hello, which the broker has checked; empty: it named none
	bound bool   // to the controller's queue; of Open, and of Release after it
}

// Listen connects to the broker at url and serves t to the agents that dial it, until Close. The context
// bounds the first attempt to connect. A connection that is lost later ends its links and is made anew for as
// long as it takes, with pauses of at most 8 s, whatever the broker says: Ready tells whether there is one.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.TLS, o.AMQP)
	if err == nil {
		err = check(url, secure.Use{TLS: o.TLS != nil}, o.Log)
	}
	if err != nil {
		return nil, err
	}
	l := &Listener{
		settings: s,
		server:   broker.NewServer(t, broker.ServerOptions{Name: "rabbitmq", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		links:    map[string]*incoming{},
	}
	if err := broker.Keep(ctx, l.server, o.RetryOnFailedConnect, l.connect, l.receive); err != nil {
		return nil, err
	}
	l.server.TryLimit(limits, l.tryLimit)
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
	if err := c.sayStarted(l.started(), !l.told); err != nil {
		l.server.Log.Warn("cannot say that this controller has started: agents of one that has died notice its silence", "error", err)
	}
	l.told = true
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
			l.server.Go(in.look)
		case m, ok := <-in.hellos:
			if !ok { // the queue was deleted, or all has ended
				return in.why(broker.ErrLost)
			}
			l.greet(in, &m)
		case m, ok := <-in.ups:
			if !ok {
				return in.why(broker.ErrLost)
			}
			l.take(&m)
		case b, ok := <-blocked:
			if !ok {
				return in.why(broker.ErrLost)
			}
			l.server.Peers.Write(ctx, slog.LevelWarn, "the broker takes no messages", "", slog.Bool("blocked", b.Active), slog.String("reason", b.Reason))
		case err := <-closed:
			return fmt.Errorf("a channel was closed: %w", err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// returned is called for what no queue has taken.
func (l *Listener) returned(key string) {
	if i := l.at(strings.TrimPrefix(key, l.down(""))); i != nil {
		i.Fail(broker.ErrGone)
	}
}

func (l *Listener) at(link string) *incoming {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.links[link]
}

// take hands on what an agent has said.
func (l *Listener) take(m *amqp.Delivery) {
	i := l.at(strings.TrimPrefix(m.RoutingKey, "up."))
	switch {
	case i == nil: // its link has just ended
	case forwarded(m.Headers):
		l.drop(m, deadLettered)
	case m.UserId != i.user:
		l.drop(m, anothers)
	default:
		i.Deliver(m.Body)
	}
}

// forwarded says whether the broker has put a message under its routing key for want of a queue that keeps it. The key
// is the choice of whoever has declared that queue, whose permissions for keys nobody has checked.
func forwarded(headers amqp.Table) bool {
	for name := range headers {
		if name == "x-death" || strings.HasPrefix(name, "x-first-death-") || strings.HasPrefix(name, "x-last-death-") {
			return true
		}
	}
	return false
}

// Why a message is dropped that is not what its routing key says. Each is a kind of lines of its own.
const (
	deadLettered = "a message was dropped: it was dead-lettered, and its routing key is nobody's word"
	anothers     = "a message was dropped: it is of another user than the hello of its link"
)

func (l *Listener) drop(m *amqp.Delivery, why string) {
	l.server.Peers.Write(l.server.Context(), slog.LevelWarn, why, "", slog.String("routing_key", m.RoutingKey), slog.String("user", m.UserId))
}

// greet begins a link.
func (l *Listener) greet(in *intake, hello *amqp.Delivery) {
	link := strings.TrimPrefix(hello.RoutingKey, "hello.")
	token, session, _ := strings.Cut(link, ".")
	vm, err := broker.VM(token)
	if err != nil || !broker.Session(session) {
		l.server.Senseless(slog.String("routing_key", hello.RoutingKey))
		return
	}
	if forwarded(hello.Headers) {
		l.drop(hello, deadLettered)
		return
	}
	greeting := l.server.Greet(vm, len(hello.Body))
	if greeting == nil {
		return
	}
	i := &incoming{user: hello.UserId}
	i.Pipe = broker.NewPipe(broker.PipeOptions{
		Name:    "rabbitmq",
		Guarded: true,
		// Also a goodbye over the connection that came after the link's.
		Publish: func(ctx context.Context, b []byte) error {
			return l.current.Load().publish(ctx, defaultExchange, l.down(link), b)
		},
		// What answers the welcome finds a queue.
		Open: func(context.Context) error {
			i.bound = true // also where the answer is lost
			return in.bind("up."+link, true)
		},
		Release: func() { l.forget(in, link, i) },
	})
	l.mu.Lock()
	known := l.links[link] != nil
	if !known {
		l.links[link] = i
	}
	l.mu.Unlock()
	if known { // said twice: the first counts
		greeting.Drop()
		return
	}
	i.Deliver(hello.Body)
	l.server.Serve(greeting, i, broker.Hello{VM: vm, Credentials: transport.Credentials{User: hello.UserId}})
}

func (l *Listener) forget(in *intake, link string, i *incoming) {
	l.mu.Lock()
	delete(l.links, link)
	l.mu.Unlock()
	if !i.bound {
		return
	}
	l.server.Go(func() {
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

// Ready returns nil while agents can dial over the broker, and else why there is no connection to it.
func (l *Listener) Ready() error { return l.server.Ready() }

// Close ends all links and the connection, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.server.Close()
	if in := l.current.Load(); in != nil {
		in.close()
	}
	return nil
}
