package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// ListenOptions are optional.
type ListenOptions struct {
	// Prefix of all subjects. Default: miglink.
	Prefix string
	// TLS has nothing but TLS spoken, also for nats://. Default: Go's, for tls:// and where the broker wants it. Where no
	// MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// NATS are the library's own options, for credentials. What they say of TLS counts. They are applied for each connection,
	// so that a password may change.
	NATS []nats.Option
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

// Listener takes the dials of agents from a broker. Make one with Listen, end it with Close.
type Listener struct {
	links   *broker.Server
	url     string
	prefix  string
	options []nats.Option
	current atomic.Pointer[nats.Conn] // the last connection; nil before the first
	known   []string                  // servers that the last one has told of; of the goroutine that connects
	once    sync.Once                 // for what is said over the first connection
}

// Listen connects to the broker at url and serves t to the agents that dial it, until Close. The context
// bounds the first attempt to connect. A connection that is lost later ends its links and is made anew for as
// long as it takes, with pauses of at most 8 s, whatever the broker says: Ready tells whether there is one.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	prefix, err := checkPrefix(o.Prefix)
	if err == nil {
		err = checkURL(url)
	}
	options := append([]nats.Option{withTLS(o.TLS), nats.Name("miglink controller")}, o.NATS...)
	if err == nil {
		err = checkWays(url, options, secure.Use{TLS: o.TLS != nil}, o.Log)
	}
	if err != nil {
		return nil, err
	}
	l := &Listener{
		links:  broker.NewServer(t, broker.ServerOptions{Name: "nats", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		url:    url,
		prefix: prefix, options: options,
	}
	if err := broker.Keep(ctx, l.links, o.RetryOnFailedConnect, l.connect, l.receive); err != nil {
		return nil, err
	}
	return l, nil
}

// limits are the setting of a server that bounds what one VM can have all others wait for.
const limits = "max_payload: 1MB in the server's configuration"

// intake is a connection that hellos come over.
type intake struct {
	*nats.Conn
	lost chan error // holds one: why the connection has ended, or is to
}

// fail has the connection be made anew; the first reason counts.
func (in *intake) fail(err error) {
	select {
	case in.lost <- bare(err):
	default:
	}
}

// connect makes a connection and subscribes to the hellos.
func (l *Listener) connect(ctx context.Context) (*intake, error) {
	in := &intake{lost: make(chan error, 1)}
	hellos := l.prefix + ".hello.*"
	conn, err := connect(ctx, l.url, append(append([]nats.Option{l.others}, l.options...),
		nats.ClosedHandler(func(c *nats.Conn) {
			err := c.LastError()
			if err == nil {
				err = broker.ErrLost
			}
			in.fail(err)
		}),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.links.Peers.Write(context.Background(), slog.LevelError, "the broker refused", "", slog.Any("error", bare(err)))
			if errors.Is(err, nats.ErrPermissionViolation) && strings.Contains(err.Error(), `"`+hellos+`"`) {
				in.fail(err) // it was taken away: nobody could dial, and the connection would live on
			}
		}))...)
	if err != nil {
		return nil, err
	}
	in.Conn = conn
	l.current.Store(conn)
	if _, err = conn.QueueSubscribe(hellos, queueGroup, func(m *nats.Msg) {
		l.links.Guard(func() { l.hello(conn, m) }) // this is a goroutine of the library, which recovers nothing
	}); err == nil {
		err = flush(ctx, conn)
	}
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("nats: %w", bare(err))
	}
	l.known = conn.DiscoveredServers()
	l.once.Do(func() {
		_ = conn.Publish(l.prefix+started, nil)            // where it is not allowed ErrorHandler says so
		if n := conn.MaxPayload(); n >= broker.TrialSize { // it says so by itself
			l.links.TakesTooMuch(int(n), limits)
		}
	})
	return in, nil
}

// others has the servers of a cluster be tried, too, that the last connection has told of. They let in whom those of the
// URL do.
func (l *Listener) others(o *nats.Options) error {
	first, _, _ := strings.Cut(l.url, ",")
	given, err := url.Parse(strings.TrimSpace(first))
	if err != nil {
		return err
	}
	for _, server := range l.known {
		if u, err := url.Parse(server); err == nil {
			u.User = given.User
			o.Servers = append(o.Servers, u.String())
		}
	}
	return nil
}

// flush waits until the broker has taken the subscription, or refused it.
func flush(ctx context.Context, conn *nats.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := conn.FlushWithContext(ctx); err != nil {
		return err
	}
	if err := conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return err
	}
	return nil
}

// receive returns when the connection has ended. At the end of ctx it leaves it to the goodbyes, and to Close.
func (l *Listener) receive(ctx context.Context, in *intake) error {
	select {
	case err := <-in.lost:
		in.Close()
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Ready returns nil while agents can dial over the broker, and else why there is no connection to it.
func (l *Listener) Ready() error { return l.links.Ready() }

// hello is called with the first frame of each dial, one after the other.
func (l *Listener) hello(conn *nats.Conn, m *nats.Msg) {
	name := strings.TrimPrefix(m.Subject, l.prefix+".hello.")
	vm, err := broker.VM(name)
	session, ok := strings.CutPrefix(m.Reply, l.prefix+".down."+name+".")
	if err != nil || !ok || !broker.Session(session) {
		l.links.Senseless(slog.String("subject", m.Subject))
		return
	}
	greeting := l.links.Greet(vm, len(m.Data))
	if greeting == nil {
		return
	}
	p := newPipe(conn, m.Reply)
	p.current = l.current.Load
	p.first, p.most = m, framed.MaxHello
	p.up = l.prefix + ".up." + name + "." + session
	l.links.Serve(greeting, p, broker.Hello{VM: vm})
}

// Close ends all links and the connection, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	if conn := l.current.Load(); conn != nil {
		conn.Close()
	}
	return nil
}
