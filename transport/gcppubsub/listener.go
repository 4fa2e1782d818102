package gcppubsub

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
)

const (
	defaultKeepalive = time.Minute // each message costs
	// lastWords is how long an agent may take to read what was said before the end.
	lastWords = 2 * time.Second
)

// ListenOptions are optional.
type ListenOptions struct {
	// Prefix of all topics and subscriptions. Default: miglink.
	Prefix string
	// Google are the library's own options, for credentials and endpoints.
	Google []option.ClientOption
	// Authenticator lets the hello of a VM pass, or says why not. Pub/Sub does not tell who published a
	// message: nothing but the hello's token does. Default: whoever may publish hellos passes.
	Authenticator transport.Authenticator
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 1 min, since each message costs.
	Keepalive time.Duration
	// RetryOnFailedConnect has Listen return a Listener also where it cannot connect, or finds no credentials: it goes on
	// trying, as it does after a loss. Default: Listen returns why it cannot.
	RetryOnFailedConnect bool
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a project. Make one with Listen, end it with Close.
type Listener struct {
	settings
	*client // nil until credentials are found
	id      string
	links   *broker.Server

	sweeping sync.Once

	mu       sync.Mutex
	sessions map[string]*incoming // that are being answered, or are links, or whose topics are being deleted
	fewer    *sync.Cond           // sessions
}

// incoming is a link of a controller.
type incoming struct {
	inbox
	opened atomic.Bool   // its topic and subscription are there; before, nothing is said and nothing is heard
	left   chan struct{} // closed when the agent has said goodbye
	once   sync.Once
	made   bool // something of its topic and subscription may be there; of Open, and of Release after it
}

// Listen connects to the project at url and serves t to the agents that dial it, until Close. What is
// missing of topics and subscriptions is made. The context bounds the first attempt to connect. What is lost
// later ends its links and is made anew for as long as it takes, with pauses of at most 8 s, whatever Pub/Sub says: Ready
// tells whether it is there.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.Google)
	if err != nil {
		return nil, err
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	l := &Listener{
		settings: s, id: uuid.NewString(),
		links:    broker.NewServer(t, broker.ServerOptions{Name: "gcppubsub", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		sessions: map[string]*incoming{},
	}
	l.fewer = sync.NewCond(&l.mu)
	if err := broker.Keep(ctx, l.links, o.RetryOnFailedConnect, l.prepare, l.receive); err != nil {
		if l.client != nil {
			l.client.Close()
		}
		return nil, err
	}
	return l, nil
}

// prepare makes the client, once, and what all links need, and tries what it may do.
func (l *Listener) prepare(ctx context.Context) (struct{}, error) {
	if l.client == nil {
		c, err := l.connect(ctx)
		if err != nil {
			return struct{}{}, err
		}
		l.client = c
	}
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	err := l.makeTopic(ctx, l.hello())
	if err == nil {
		err = l.makeTopic(ctx, l.up())
	}
	if err == nil {
		err = l.makeSubscription(ctx, subscription(l.hello(), l.hello().topic(), forever))
	}
	if err == nil {
		up := subscription(l.upOf(l.id), l.up().topic(), aDay)
		up.Filter = fmt.Sprintf("attributes.%s = %q", attrTo, l.id)
		err = l.makeSubscription(ctx, up)
	}
	if err != nil {
		return struct{}{}, fmt.Errorf("gcppubsub: %w", bare(err))
	}
	l.sweeping.Do(func() { l.links.Go(l.sweep) })
	return struct{}{}, nil
}

// receive hands on what comes, until one of the two streams ends. At the end of ctx it takes no more hellos,
// and waits for goodbyes.
func (l *Listener) receive(ctx context.Context, _ struct{}) error {
	both, ups := errgroup.WithContext(context.WithoutCancel(ctx))
	hellos, cancel := context.WithCancel(ups)
	defer cancel()
	defer context.AfterFunc(ctx, cancel)()
	both.Go(func() error {
		err := l.pull(hellos, l.hello().subscription(), l.greet)
		if ctx.Err() != nil {
			l.awaitNoSessions()
			return ctx.Err()
		}
		return err
	})
	both.Go(func() error { return l.pull(ups, l.upOf(l.id).subscription(), l.handOn) })
	return bare(both.Wait())
}

func (l *Listener) handOn(m *pubsubpb.PubsubMessage) {
	l.mu.Lock()
	i := l.sessions[m.Attributes[attrSession]]
	l.mu.Unlock()
	if i == nil || !i.opened.Load() {
		return // a stranger's: who has a link speaks after its welcome
	}
	if len(m.Data) == 0 {
		i.once.Do(func() { close(i.left) })
	}
	i.take(m)
}

// greet answers a hello. Where it is refused nothing is made for it, and so its agent cannot be told: it gives up.
func (l *Listener) greet(m *pubsubpb.PubsubMessage) {
	vm, session := m.Attributes[attrVM], m.Attributes[attrSession]
	if transport.ValidateVM(vm) != nil || !broker.Session(session) {
		l.links.Senseless(slog.String("vm_id", vm), slog.String("session", session))
		return
	}
	if time.Since(m.PublishTime.AsTime()) > broker.AnswerTime {
		return
	}
	greeting := l.links.Greet(vm, len(m.Data))
	if greeting == nil {
		return
	}
	i := &incoming{left: make(chan struct{})}
	l.prepareLink(i, vm, session)
	l.mu.Lock()
	known := l.sessions[session] != nil
	if !known {
		l.sessions[session] = i
	}
	l.mu.Unlock()
	if known { // the message came twice
		greeting.Drop()
		return
	}
	i.pipe.Deliver(m.Data)
	l.links.Serve(greeting, i.pipe, broker.Hello{VM: vm})
}

// prepareLink gives a link its pipe, which makes the link's topic and subscription when it is trusted.
func (l *Listener) prepareLink(i *incoming, vm, session string) {
	out := &outbox{
		client: l.client, topic: l.link(session).topic(), key: session,
		attributes: map[string]string{attrSession: session, attrFrom: l.id},
	}
	i.inbox = inbox{n: 1, pipe: broker.NewPipe(broker.PipeOptions{
		Name:    "gcppubsub",
		Guarded: true,
		Publish: func(ctx context.Context, b []byte) error {
			if !i.opened.Load() {
				return nil
			}
			return out.publish(ctx, b)
		},
		Open: func(ctx context.Context) error { return l.open(ctx, i, vm, session) },
		Release: func() {
			if i.made {
				go l.forget(session, i) // Close waits for the session to be removed
			} else {
				l.remove(session)
			}
		},
	})}
}

// open makes what a link needs.
func (l *Listener) open(ctx context.Context, i *incoming, vm, session string) error {
	var err error
	i.made, err = l.makeLink(ctx, session)
	if status.Code(err) == codes.AlreadyExists {
		return errTaken
	}
	if err != nil {
		l.links.CannotTake(vm, bare(err))
		return bare(err)
	}
	i.opened.Store(true)
	return nil
}

// errTaken is why a hello is not answered that came to two controllers.
var errTaken = errors.New("another controller has taken this hello")

// forget deletes what a link had, when the agent has read the last of it.
func (l *Listener) forget(session string, i *incoming) {
	defer l.remove(session)
	late := time.NewTimer(lastWords)
	defer late.Stop()
	select {
	case <-i.left:
	case <-late.C:
	}
	if err := l.deleteLink(l.link(session)); err != nil {
		l.links.Peers.Write(context.Background(), slog.LevelWarn, "cannot delete what a link had", "", slog.String("session", session), slog.Any("error", bare(err)))
	}
}

func (l *Listener) remove(session string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.sessions, session)
	l.fewer.Broadcast()
}

func (l *Listener) awaitNoSessions() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.sessions) > 0 {
		l.fewer.Wait()
	}
}

// Ready returns nil while agents can dial over the broker, and else why there is no connection to it.
func (l *Listener) Ready() error { return l.links.Ready() }

// Close ends all links, deletes what they had, and waits for that. End the links at the controller
// first, with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	l.awaitNoSessions()
	if l.client == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	err := l.subs.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: l.upOf(l.id).subscription()}, once())
	l.client.Close()
	if err != nil {
		return fmt.Errorf("gcppubsub: %w", bare(err))
	}
	return nil
}
