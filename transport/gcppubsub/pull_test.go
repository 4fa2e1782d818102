package gcppubsub

import (
	"context"
	"strconv"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// A stream that has proven itself is replaced when it ends, and nothing is lost, but may come twice;
// another one's end is the end.
func TestPull(t *testing.T) {
	t.Parallel()
	fake := pstest.NewServer()
	defer fake.Close()
	fake.SetStreamTimeout(50 * time.Millisecond)
	s, err := newSettings("gcppubsub://p", "", []option.ClientOption{
		option.WithEndpoint(fake.Addr), option.WithoutAuthentication(),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
	})
	require.NoError(t, err)
	c, err := s.connect(t.Context())
	require.NoError(t, err)
	defer c.Close()
	n := s.hello()
	require.NoError(t, c.makeTopic(t.Context(), n))
	require.NoError(t, c.makeSubscription(t.Context(), subscription(n, n.topic(), forever)))

	require.Error(t, c.pull(t.Context(), n.subscription(), func(*pubsubpb.PubsubMessage) {}))

	c.proven = 0
	ctx, cancel := context.WithCancel(t.Context())
	next, streams := 0, 10
	publish := func() { fake.PublishOrdered(n.topic(), []byte(strconv.Itoa(next)), nil, "k") }
	publish()
	err = c.pull(ctx, n.subscription(), func(m *pubsubpb.PubsubMessage) {
		n, err := strconv.Atoi(string(m.Data))
		require.NoError(t, err)
		if n < next {
			return // its acknowledgement was lost with a stream
		}
		require.Equal(t, next, n)
		if next++; next == streams {
			cancel()
			return
		}
		time.AfterFunc(60*time.Millisecond, publish) // to the next stream, or the one after
	})
	require.ErrorIs(t, ctx.Err(), context.Canceled)
	require.Error(t, err)
	require.Equal(t, streams, next)
}
