package gcppubsub_test

import (
	"context"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// wants is the permission of each call, as of https://cloud.google.com/pubsub/docs/access-control. To make a
// subscription takes a second one, of its topic.
var wants = map[string]string{
	"GetTopic": "topics.get", "CreateTopic": "topics.create", "DeleteTopic": "topics.delete", "ListTopics": "topics.list",
	"Publish": "topics.publish", "GetSubscription": "subscriptions.get", "CreateSubscription": "subscriptions.create",
	"DeleteSubscription": "subscriptions.delete", "StreamingPull": "subscriptions.consume",
}

// calls notes what one end calls.
type calls struct {
	mu   sync.Mutex
	seen map[string]bool
}

func (c *calls) note(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	want := wants[path.Base(method)]
	if want == "" {
		want = "unknown, of " + method
	}
	c.seen["pubsub."+want] = true
	if want == "subscriptions.create" {
		c.seen["pubsub.topics.attachSubscription"] = true
	}
}

func (c *calls) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			c.note(method)
			return invoke(ctx, method, req, reply, cc, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, cc *grpc.ClientConn, method string, stream grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			c.note(method)
			return stream(ctx, d, cc, method, o...)
		}),
	}
}

func (c *calls) list() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Sorted(maps.Keys(c.seen))
}

// The roles of the documentation hold what each end calls, and no more.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := fake(t)
	controller, agent := calls{seen: map[string]bool{}}, calls{seen: map[string]bool{}}
	c := brokertest.Controller(t)
	l, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{Google: at(s.Addr, controller.options()...)})
	require.NoError(t, err)
	a := brokertest.Run(t, open(t, s.Addr, agent.options()...))
	brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	a.Stop(1)
	require.NoError(t, l.Close())

	doc, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	role := func(name string) []string {
		found := regexp.MustCompile(`roles create ` + name + ` .* --permissions (\S+)`).FindStringSubmatch(string(doc))
		require.NotNil(t, found, name)
		list := strings.Split(found[1], ",")
		slices.Sort(list)
		return list
	}
	require.Equal(t, role("miglinkController"), controller.list())
	require.Equal(t, append(role("miglinkAgent"), "pubsub.topics.publish"), agent.list())
}
