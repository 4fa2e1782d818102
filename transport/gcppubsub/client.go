package gcppubsub

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/google/uuid"
	"google.golang.org/api/option"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
)

// Options are optional.
type Options struct {
	// Prefix of all topics and subscriptions. Default: miglink.
	Prefix string
	// Google are the library's own options, for credentials and endpoints.
	Google []option.ClientOption
	// Token is asked for a bearer token before each dial, which goes with the hello. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go to an emulator (PUBSUB_EMULATOR_HOST) on another machine, to which nobody speaks TLS.
	Insecure bool
}

// Transport dials links over Pub/Sub. It is safe for concurrent use.
type Transport struct {
	settings settings
	token    transport.TokenSource
}

// New returns a Transport to the controllers that listen on a project, as gcppubsub://PROJECT, or
// gcppubsub://PROJECT/PROJECT-OF-LINKS where links are in another. Each link has a connection of its own.
func New(url string, o Options) (*Transport, error) {
	s, err := newSettings(url, o.Prefix, o.Google)
	if host := os.Getenv("PUBSUB_EMULATOR_HOST"); err == nil && host != "" {
		err = secure.Check("http://"+host, secure.Use{Token: o.Token != nil, Insecure: o.Insecure})
	}
	if err != nil {
		return nil, err
	}
	return &Transport{s, o.Token}, nil
}

// Open is New for a transport.Registry; the project is the Broker of the Config.
func Open(c transport.Config) (transport.Transport, error) {
	if err := broker.Speaks(c.Broker, "gcppubsub://PROJECT", "gcppubsub"); err != nil {
		return nil, err
	}
	if c.TLS != nil {
		return nil, transport.ErrTLSUnused
	}
	return New(c.Broker, Options{Prefix: c.Prefix, Token: c.Token, Insecure: c.Insecure})
}

// The subscription of a link exists when a controller has taken the hello.
const (
	firstLook = 50 * time.Millisecond
	lastLook  = time.Second
)

var errNobody = errors.New("no controller has listened on this project yet")

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	c, err := t.settings.connect(ctx)
	if err != nil {
		return nil, err
	}
	l := &outgoing{settings: &t.settings, session: uuid.NewString()}
	l.outbox = outbox{
		client: c, topic: t.settings.hello().topic(), key: hello.VM,
		attributes: map[string]string{attrSession: l.session, attrVM: hello.VM},
	}
	pulling, cancel := context.WithCancel(context.Background())
	pulled := make(chan struct{})
	l.pipe = broker.NewPipe(broker.PipeOptions{
		Name:    "gcppubsub",
		Publish: l.publish,
		Release: func() {
			l.leave()
			cancel()
			<-pulled
			c.Close()
		},
	})
	l.inbox = inbox{pipe: l.pipe}
	go func() {
		defer close(pulled)
		l.pipe.Fail(bare(l.pull(pulling)))
	}()
	link, err := broker.Dial(ctx, "gcppubsub", l.pipe, hello, t.token, nil)
	if errors.Is(err, broker.ErrNoAnswer) { // a hello that is refused is dropped
		err = fmt.Errorf("%w: none listens, or none takes these credentials", err)
	}
	return link, err
}

// outgoing is a link of an agent.
type outgoing struct {
	*settings
	session string
	pipe    *broker.Pipe
	inbox   inbox

	outbox outbox
}

// publish says nothing but hello until a controller has answered. Goodbye is said by leave.
func (l *outgoing) publish(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		return nil
	}
	err := l.outbox.publish(ctx, b)
	if errors.Is(err, broker.ErrGone) && !l.answered() {
		err = errNobody
	}
	return err
}

func (l *outgoing) answered() bool {
	l.outbox.mu.Lock()
	defer l.outbox.mu.Unlock()
	return l.outbox.attributes[attrTo] != ""
}

// leave says goodbye at every end, that of the controller, too, which waits for it with deleting what
// the agent may not have read.
func (l *outgoing) leave() {
	if !l.answered() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = l.outbox.publish(ctx, nil) // or the controller will notice the silence
}

// pull waits for the link's subscription, and receives from it.
func (l *outgoing) pull(ctx context.Context) error {
	subscription := l.link(l.session).subscription()
	look := firstLook
	for {
		err := l.outbox.client.pull(ctx, subscription, l.take)
		if status.Code(err) != codes.NotFound {
			return err
		}
		if l.answered() {
			return broker.ErrGone
		}
		select {
		case <-time.After(look):
			look = min(2*look, lastLook)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (l *outgoing) take(m *pubsubpb.PubsubMessage) {
	if from := m.Attributes[attrFrom]; !l.answered() && from != "" {
		l.outbox.mu.Lock()
		l.outbox.topic = l.up().topic()
		l.outbox.key = l.session
		l.outbox.attributes = map[string]string{attrSession: l.session, attrTo: from}
		l.outbox.mu.Unlock()
	}
	l.inbox.take(m)
}
