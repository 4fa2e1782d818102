package gcppubsub_test

import (
	"encoding/json"
	"strings"
	"testing"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	"github.com/miglink/miglink/transport/gcppubsub"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	url     = "gcppubsub://p"
	topics  = "projects/p/topics/miglink-"
	subs    = "projects/p/subscriptions/miglink-"
	session = "s" // of hellos that tests write by hand
)

// fake is a Pub/Sub whose calls each of the reactors may answer.
func fake(t *testing.T, reactors ...pstest.ServerReactorOption) *pstest.Server {
	t.Helper()
	s := pstest.NewServer(reactors...)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

// at are the options to reach it.
func at(addr string, more ...grpc.DialOption) []option.ClientOption {
	o := []option.ClientOption{
		option.WithEndpoint(addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	}
	for _, d := range more {
		o = append(o, option.WithGRPCDialOption(d))
	}
	return o
}

func listen(t *testing.T, s *pstest.Server, c transport.Transport, o gcppubsub.ListenOptions) *gcppubsub.Listener {
	t.Helper()
	o.Google = at(s.Addr)
	l, err := gcppubsub.Listen(t.Context(), url, c, o)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func open(t *testing.T, addr string, more ...grpc.DialOption) *gcppubsub.Transport {
	t.Helper()
	tr, err := gcppubsub.New(url, gcppubsub.Options{Google: at(addr, more...)})
	require.NoError(t, err)
	return tr
}

// names are those of topics and subscriptions, without what all have in common.
func names(t *testing.T, s *pstest.Server) (names []string) {
	t.Helper()
	ts, err := s.GServer.ListTopics(t.Context(), &pubsubpb.ListTopicsRequest{Project: "projects/p"})
	require.NoError(t, err)
	for _, topic := range ts.Topics {
		names = append(names, strings.TrimPrefix(topic.Name, "projects/p/"))
	}
	ss, err := s.GServer.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: "projects/p"})
	require.NoError(t, err)
	for _, sub := range ss.Subscriptions {
		names = append(names, strings.TrimPrefix(sub.Name, "projects/p/"))
	}
	return names
}

// say publishes a hello, or with another VM than in its frame.
func say(t *testing.T, s *pstest.Server, vm, in string) {
	t.Helper()
	b, err := json.Marshal(framed.Frame{N: 1, Hello: &framed.Hello{Version: 1, Hello: transport.Hello{VM: in, Instance: "i"}}})
	require.NoError(t, err)
	s.PublishOrdered(topics+"hello", b, map[string]string{"vm": vm, "session": session, "n": "1"}, vm)
}
