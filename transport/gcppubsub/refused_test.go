package gcppubsub_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// makers counts the topics and subscriptions of links that are made in a project.
type makers struct{ n atomic.Int64 }

// React implements pstest.Reactor: it counts, and lets the fake answer.
func (m *makers) React(request any) (handled bool, ret any, err error) {
	if r, ok := request.(interface{ GetName() string }); ok && strings.Contains(r.GetName(), "/miglink-link-") {
		m.n.Add(1)
	}
	return false, nil, nil
}

// asked is an Authenticator that knows one token, and tells how many it has refused.
type asked struct {
	mu      sync.Mutex
	refused int
}

func (a *asked) Authenticate(_ context.Context, _ string, c transport.Credentials) (transport.Grant, error) {
	if c.Token == "good" {
		return transport.Grant{}, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.refused++
	return transport.Grant{}, transport.ErrUnauthorized
}

func (a *asked) count() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refused
}

// Nothing is made for hellos that are refused, at any moment, whoever refuses them: not a topic, not a subscription. A
// VM that means well is served beside them.
func TestNothingIsMadeForWhoIsRefused(t *testing.T) {
	t.Parallel()
	var made makers
	s := fake(t, pstest.ServerReactorOption{FuncName: "CreateTopic", Reactor: &made}, pstest.ServerReactorOption{FuncName: "CreateSubscription", Reactor: &made})
	c := brokertest.Controller(t)
	shut := make(chan struct{}, 1000)
	a := &asked{}
	l, err := gcppubsub.Listen(t.Context(), url, door(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
		if h.Instance == "shut out" {
			shut <- struct{}{}
			return nil, transport.Errorf(transport.CodeSuperseded, "a newer instance took over")
		}
		return c.Dial(ctx, h)
	}), gcppubsub.ListenOptions{Google: at(s.Addr), Authenticator: a})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	const each = 200
	for i := range each {
		publish(t, s, i, "", `{"version":1,"instance":"i","token":"bad"}`)
		publish(t, s, i, "x", `{"version":1,"instance":"i","vm_id":"another","token":"good"}`)
		publish(t, s, i, "y", "7")
	}
	for i := range 50 {
		publish(t, s, i, "z", `{"version":1,"instance":"shut out","token":"good"}`)
	}
	// The hello of one that means well comes after all of them.
	tr, err := gcppubsub.New(url, gcppubsub.Options{Google: at(s.Addr), Token: func(context.Context) (string, error) { return "good", nil }})
	require.NoError(t, err)
	agent := brokertest.RunVM(t, "good", tr)
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	require.Eventually(t, func() bool { return a.count() == each && len(shut) == 50 }, time.Minute, time.Millisecond)
	require.EqualValues(t, 2, made.n.Load(), "a topic and a subscription for the link, and nothing else")
	agent.Stop(1)
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
}

// publish says a hello of vm-i.
func publish(t *testing.T, s *pstest.Server, i int, session, hello string) {
	t.Helper()
	vm := fmt.Sprint("vm-", i)
	s.PublishOrdered(topics+"hello", fmt.Appendf(nil, `{"n":1,"hello":%s}`, hello), map[string]string{"vm": vm, "session": fmt.Sprint("s", session, i), "n": "1"}, vm)
}

// door is a controller that looks at hellos.
type door func(context.Context, transport.Hello) (transport.Link, error)

func (d door) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) { return d(ctx, h) }

// Who is refused is not told, and hears both causes that there may be.
func TestRefusedIsNotTold(t *testing.T) {
	t.Parallel()
	s := fake(t)
	a := &asked{}
	listen(t, s, brokertest.Controller(t), gcppubsub.ListenOptions{Authenticator: a})
	_, err := brokertest.Dial(t, open(t, s.Addr))
	require.EqualError(t, err, "gcppubsub: no controller answered within 15s: none listens, or none takes these credentials")
	require.False(t, transport.Terminal(err))
	require.Equal(t, 1, a.count())
}
