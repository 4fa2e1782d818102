package gcppubsub

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
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
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Listener takes the dials of agents from a project. Make one with Listen, end it with Close.
type Listener struct {
	settings
	*client
	id    string
	links *broker.Server

	mu       sync.Mutex
	sessions map[string]*incoming // whose topics exist, or are being made
	fewer    *sync.Cond           // sessions
}

// incoming is a link of a controller.
type incoming struct {
	inbox
	left chan struct{} // closed when the agent has said goodbye
	once sync.Once
}

// Listen connects to the project at url and serves t to the agents that dial it, until Close. What is
// missing of topics and subscriptions is made. The context bounds the attempt to connect. What is lost
// later ends its links and is made anew for as long as it takes.
func Listen(ctx context.Context, url string, t transport.Transport, o ListenOptions) (*Listener, error) {
	s, err := newSettings(url, o.Prefix, o.Google)
	if err != nil {
		return nil, err
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	c, err := s.connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &Listener{
		settings: s, client: c, id: uuid.NewString(),
		links:    broker.NewServer(t, broker.ServerOptions{Name: "gcppubsub", Authenticator: o.Authenticator, Keepalive: o.Keepalive, Log: o.Log}),
		sessions: map[string]*incoming{},
	}
	l.fewer = sync.NewCond(&l.mu)
	if _, err := l.prepare(ctx); err != nil {
		c.Close()
		return nil, err
	}
	l.links.Go(func() { broker.Keep(l.links, struct{}{}, l.prepare, l.receive) })
	l.links.Go(l.sweep)
	return l, nil
}

// prepare makes what all links need, and tries what it may do.
func (l *Listener) prepare(ctx context.Context) (struct{}, error) {
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
	ours := i != nil && i.pipe != nil
	l.mu.Unlock()
	if !ours {
		return
	}
	if len(m.Data) == 0 {
		i.once.Do(func() { close(i.left) })
	}
	i.take(m)
}

// greet answers a hello, if no other controller does.
func (l *Listener) greet(m *pubsubpb.PubsubMessage) {
	vm, session := m.Attributes[attrVM], m.Attributes[attrSession]
	if transport.ValidateVM(vm) != nil || !broker.Session(session) {
		l.links.Log.Info("a hello that makes no sense", "vm_id", vm, "session", session)
		return
	}
	if time.Since(m.PublishTime.AsTime()) > broker.AnswerTime {
		return
	}
	done, ok := l.links.Greet(vm)
	if !ok {
		return
	}
	i := &incoming{left: make(chan struct{})}
	l.mu.Lock()
	known := l.sessions[session] != nil
	if !known {
		l.sessions[session] = i
	}
	l.mu.Unlock()
	if known {
		done()
		return // the message came twice
	}
	go l.serve(i, vm, session, m, done)
}

func (l *Listener) serve(i *incoming, vm, session string, hello *pubsubpb.PubsubMessage, done func()) {
	if err := l.makeLink(l.links.Context(), session); err != nil {
		if status.Code(err) != codes.AlreadyExists { // it is another controller's
			l.links.Log.Error("cannot take a link", "vm_id", vm, "error", bare(err))
		}
		l.remove(session)
		done()
		return
	}
	out := &outbox{
		client: l.client, topic: l.link(session).topic(), key: session,
		attributes: map[string]string{attrSession: session, attrFrom: l.id},
	}
	pipe := broker.NewPipe(broker.PipeOptions{
		Name:    "gcppubsub",
		Guarded: true,
		Publish: out.publish,
		Release: func() { go l.forget(session, i) },
	})
	l.mu.Lock()
	i.inbox = inbox{pipe: pipe, n: 1}
	l.mu.Unlock()
	pipe.Deliver(hello.Data)
	l.links.Serve(pipe, vm, transport.Credentials{}, done)
}

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
		l.links.Log.Warn("cannot delete what a link had", "session", session, "error", bare(err))
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

// Close ends all links, deletes what they had, and waits for that. End the links at the controller
// first, with its Shutdown, for agents to be told when to come back.
func (l *Listener) Close() error {
	l.links.Close()
	l.awaitNoSessions()
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	err := l.subs.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: l.upOf(l.id).subscription()}, once())
	l.client.Close()
	if err != nil {
		return fmt.Errorf("gcppubsub: %w", bare(err))
	}
	return nil
}
