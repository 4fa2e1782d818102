package rabbitmq

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

// helloTTL is how long a hello waits for a controller, in milliseconds. Who said it has given up then.
const helloTTL = 10_000

// idLength is that of a controller's name in routing keys, which are of at most maxKey bytes, as names of queues are.
const (
	idLength = 12
	maxKey   = 255
)

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
	// AMQP changes the library's own configuration, for credentials. What it says of TLS counts. It is called for each
	// connection, so that a password may change.
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
	user    string                 // of the hello, which the broker has checked; empty: it named none
	to      string                 // the queue of its agent
	up      atomic.Pointer[string] // the key of the agent's frames, until the agent was told
	trusted atomic.Bool            // its credentials are good
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

// intake is a connection with what comes over it. It ends with any of its channels.
type intake struct {
	*connection
	id          string   // the last word of the keys that come to ups
	in          *channel // of hellos and ups
	hellos, ups <-chan amqp.Delivery
	out         *channel

	mu      sync.Mutex // one look at a time
	looking *channel
}

func (l *Listener) connect(ctx context.Context) (*intake, error) {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := l.settings.connect(ctx, "miglink controller")
	if err != nil {
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	in := &intake{connection: c, id: rand.Text()[:idLength]}
	if err := c.within(ctx, func() error { return l.setUp(in) }); err != nil {
		c.hangUp()
		return nil, fmt.Errorf("rabbitmq: %w", err)
	}
	if err := c.sayStarted(l.started(), !l.told); err != nil {
		l.server.Log.Warn("cannot say that this controller has started: agents of one that has died notice its silence", "error", err)
	}
	l.told = true
	l.current.Store(in)
	return in, nil
}

// setUp has the broker make what agents dial by.
func (l *Listener) setUp(in *intake) (err error) {
	for _, ch := range []**channel{&in.looking, &in.in, &in.out} {
		if *ch, err = in.channel(); err != nil {
			return err
		}
	}
	if err = in.out.confirms(l.returned); err != nil {
		return err
	}
	if err = in.looking.ExchangeDeclare(l.exchange, amqp.ExchangeTopic, true, false, false, false, nil); err != nil {
		return err
	}
	queue := l.exchange + ".up." + in.id
	if _, err = in.in.QueueDeclare(queue, false, true, true, false, nil); err != nil {
		return err
	}
	if in.ups, err = in.in.Consume(queue, "", true, true, false, false, nil); err != nil {
		return err
	}
	// One binding for all links: the broker takes seconds to forget those of a fleet when a controller dies, and
	// nobody can dial meanwhile.
	if err = in.in.QueueBind(queue, "up.*.*."+in.id, l.exchange, false, nil); err != nil {
		return err
	}
	hellos := l.exchange + ".hello"
	if _, err = in.in.QueueDeclare(hellos, true, true, false, false, amqp.Table{"x-message-ttl": int32(helloTTL)}); err != nil {
		return err
	}
	if err = in.in.QueueBind(hellos, "hello.#", l.exchange, false, nil); err != nil {
		return err
	}
	// Acknowledged: what the broker gave to a controller that has just died goes to another.
	in.hellos, err = in.in.Consume(hellos, "", false, false, false, false, nil)
	return err
}

// receive hands on what comes, until the connection ends. At the end of ctx it leaves the connection to
// the goodbyes, and to Close.
func (l *Listener) receive(ctx context.Context, in *intake) error {
	err := l.handOn(ctx, in)
	if ctx.Err() == nil {
		in.hangUp()
	}
	return err
}

func (l *Listener) handOn(ctx context.Context, in *intake) error {
	blocked := in.NotifyBlocked(make(chan amqp.Blocking, 1))
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	for {
		select {
		case <-look.C:
			l.server.Go(in.look)
		case m, ok := <-in.hellos:
			if !ok { // the queue was deleted, or all has ended
				return in.in.why(broker.ErrLost)
			}
			if err := l.hello(in, &m); err != nil {
				return in.in.why(err)
			}
		case m, ok := <-in.ups:
			if !ok {
				return in.in.why(broker.ErrLost)
			}
			l.take(in, &m)
		case b, ok := <-blocked:
			if !ok {
				return in.out.why(broker.ErrLost)
			}
			l.server.Peers.Write(ctx, slog.LevelWarn, "the broker takes no messages", "", slog.Bool("blocked", b.Active), slog.String("reason", b.Reason))
		case <-in.out.ended:
			return in.out.err
		case <-in.looking.ended:
			return in.looking.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// returned is called for what the queue of an agent has not taken: it is gone.
func (l *Listener) returned(r *amqp.Return) {
	token, _, _ := strings.Cut(strings.TrimPrefix(r.RoutingKey, l.exchange+".down."), ".")
	l.mu.Lock()
	i := l.links[token+"."+r.CorrelationId]
	l.mu.Unlock()
	if i != nil {
		i.Fail(broker.ErrGone)
	}
}

// take hands on what an agent has said.
func (l *Listener) take(in *intake, m *amqp.Delivery) {
	l.mu.Lock()
	i := l.links[strings.TrimSuffix(strings.TrimPrefix(m.RoutingKey, "up."), "."+in.id)]
	l.mu.Unlock()
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
	elsewhere    = "a message was dropped: a hello's reply-to is to be a queue of its VM"
)

func (l *Listener) drop(m *amqp.Delivery, why string) {
	l.server.Peers.Write(l.server.Context(), slog.LevelWarn, why, "", slog.String("routing_key", m.RoutingKey), slog.String("user", m.UserId))
}

// hello begins a link, and tells the broker that it was taken, whatever becomes of it: no other controller is to have it.
func (l *Listener) hello(in *intake, m *amqp.Delivery) (err error) {
	defer func() { err = m.Ack(false) }()
	l.greet(in, m)
	return nil
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
	// What the VM may say hello with has been checked, and by this what it is answered to.
	if !strings.HasPrefix(hello.ReplyTo, l.down(token)) {
		l.drop(hello, elsewhere)
		return
	}
	up := "up." + link + "." + in.id
	if len(up) > maxKey {
		l.server.Senseless(slog.String("routing_key", hello.RoutingKey))
		return
	}
	greeting := l.server.Greet(vm, len(hello.Body))
	if greeting == nil {
		return
	}
	i := &incoming{user: hello.UserId, to: hello.ReplyTo}
	i.Pipe = broker.NewPipe(broker.PipeOptions{
		Name:    "rabbitmq",
		Guarded: true,
		// Also a goodbye over the connection that came after the link's.
		Publish: func(ctx context.Context, b []byte) error {
			p := properties{session: session}
			if key := i.up.Swap(nil); key != nil {
				p.replyTo = *key
			}
			return l.current.Load().out.publish(ctx, defaultExchange, i.to, b, p)
		},
		// With the next frame the agent is told. Who is refused is not.
		Open: func(context.Context) error {
			i.up.Store(&up)
			i.trusted.Store(true)
			return nil
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
	if i.trusted.Load() {
		l.server.Go(in.look) // the agent may have gone because the exchange has
	}
}

// look has the broker close a channel where the exchange is gone, and the connection is made again.
func (in *intake) look() {
	in.mu.Lock()
	defer in.mu.Unlock()
	_ = in.looking.ExchangeDeclarePassive(in.exchange, amqp.ExchangeTopic, true, false, false, false, nil) // handOn hears of it
}

// Ready returns nil while agents can dial over the broker, and else why there is no connection to it.
func (l *Listener) Ready() error { return l.server.Ready() }

// Close ends all links and the connection, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.server.Close()
	if in := l.current.Load(); in != nil {
		in.hangUp()
	}
	return nil
}
