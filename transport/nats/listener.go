package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
)

// ListenOptions are optional.
type ListenOptions struct {
	// Prefix of all subjects. Default: miglink.
	Prefix string
	// TLS is for a broker that speaks it. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// NATS are the library's own options, for credentials. What they say of TLS counts.
	NATS []nats.Option
	// Authenticator lets the hello of a VM pass, or says why not. Default: whoever may publish it passes.
	Authenticator transport.Authenticator
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 15 s.
	Keepalive time.Duration
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a broker. Make one with Listen, end it with Close.
type Listener struct {
	links  *broker.Server
	prefix string
	conn   *nats.Conn

	mu       sync.Mutex
	goodbyes []func() // to be said once connected
}

// Listen connects to the broker at url and serves t to the agents that dial it, until Close. The context
// bounds the attempt to connect. A connection that is lost later ends its links and is made anew for as
// long as it takes.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	prefix, err := checkPrefix(o.Prefix)
	if err == nil {
		err = checkURL(url)
	}
	if err != nil {
		return nil, err
	}
	l := &Listener{
		links:  broker.NewServer(t, broker.ServerOptions{Name: "nats", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		prefix: prefix,
	}
	l.conn, err = connect(ctx, url, append([]nats.Option{
		withTLS(o.TLS),
		nats.Name("miglink controller"),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(time.Second),
		nats.ReconnectJitter(time.Second, time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) { l.disconnected(err) }),
		nats.ReconnectHandler(func(*nats.Conn) { l.connected() }),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) {
			l.links.Log.Error("the broker refused", "error", bare(err))
		}),
	}, o.NATS...)...)
	if err != nil {
		return nil, err
	}
	if _, err = l.conn.QueueSubscribe(prefix+".hello.*", queueGroup, l.hello); err == nil {
		err = l.flush(ctx)
	}
	if err != nil {
		l.Close()
		return nil, fmt.Errorf("nats: %w", bare(err))
	}
	return l, nil
}

// flush waits until the broker has taken the subscription, or refused it.
func (l *Listener) flush(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	if err := l.conn.FlushWithContext(ctx); err != nil {
		return err
	}
	if err := l.conn.LastError(); errors.Is(err, nats.ErrPermissionViolation) {
		return err
	}
	return nil
}

// disconnected ends all links: what was on its way is lost.
func (l *Listener) disconnected(err error) {
	if l.links.Context().Err() != nil {
		return
	}
	l.links.Log.Warn("the connection to the broker was lost", "error", err)
	goodbye := l.links.FailAll()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.goodbyes = append(l.goodbyes, goodbye)
}

// connected tells the other ends of those links, whose connections may have lived on.
func (l *Listener) connected() {
	l.links.Log.Info("connected to the broker again")
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, goodbye := range l.goodbyes {
		goodbye()
	}
	l.goodbyes = nil
}

// hello is called with the first frame of each dial, one after the other.
func (l *Listener) hello(m *nats.Msg) {
	name := strings.TrimPrefix(m.Subject, l.prefix+".hello.")
	vm, err := broker.VM(name)
	session, ok := strings.CutPrefix(m.Reply, l.prefix+".down."+name+".")
	if err != nil || !ok || !broker.Session(session) {
		l.links.Log.Info("a hello that makes no sense", "subject", m.Subject)
		return
	}
	done, ok := l.links.Greet(vm)
	if !ok {
		return
	}
	in, err := l.conn.SubscribeSync(l.prefix + ".up." + name + "." + session)
	if err != nil {
		done()
		l.links.Log.Error("cannot subscribe for a link", "vm_id", vm, "error", bare(err))
		return
	}
	p := newPipe(l.conn, in, m.Reply)
	p.first = m
	p.guard()
	l.links.Serve(p, vm, transport.Credentials{}, done)
}

// Close ends all links and the connection, and waits for them. End the links at the controller first,
// with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	l.conn.Close()
	return nil
}
