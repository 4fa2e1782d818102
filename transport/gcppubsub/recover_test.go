package gcppubsub_test

import (
	"context"
	"net"
	"strconv"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// refusal refuses all calls while it is set, as Pub/Sub does those with credentials that it does not know.
type refusal struct {
	set   atomic.Bool
	calls atomic.Int64
}

func (r *refusal) err() error {
	r.calls.Add(1)
	if r.set.Load() {
		return status.Error(codes.Unauthenticated, "these credentials are not known")
	}
	return nil
}

func (r *refusal) options() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, invoke grpc.UnaryInvoker, o ...grpc.CallOption) error {
			if err := r.err(); err != nil {
				return err
			}
			return invoke(ctx, method, req, reply, cc, o...)
		}),
		grpc.WithStreamInterceptor(func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
			if err := r.err(); err != nil {
				return nil, err
			}
			return open(ctx, desc, cc, method, o...)
		}),
	}
}

// Credentials that are refused for a while cost that while.
func TestCredentialsRefused(t *testing.T) {
	t.Parallel()
	s := pstest.NewServer()
	t.Cleanup(func() { s.Close() })
	addr, again := s.Addr, restart(t, &s)
	var r refusal
	c := brokertest.Controller(t)
	l, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{Keepalive: brokertest.Keepalive, Google: at(addr, r.options()...)})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	brokertest.Recover(t, c, l, open(t, addr, r.options()...), &r.calls, func() {
		r.set.Store(true)
		again() // which ends what was let in before
	}, func() { r.set.Store(false) })
}

// restart returns a function that starts a server anew, at the same address and without what the one before knew.
func restart(t *testing.T, s **pstest.Server) func() {
	_, port, err := net.SplitHostPort((*s).Addr)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	return func() {
		require.NoError(t, (*s).Close())
		*s = pstest.NewServerWithPort(number)
	}
}

// A project that cannot be reached at the start is waited for, where the caller wants that.
func TestAwayAtStart(t *testing.T) {
	t.Parallel()
	s := pstest.NewServer()
	t.Cleanup(func() { s.Close() })
	addr, again := s.Addr, restart(t, &s)
	require.NoError(t, s.Close())
	c := brokertest.Controller(t)
	l, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{RetryOnFailedConnect: true, Keepalive: brokertest.Keepalive, Google: at(addr)})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	require.ErrorContains(t, l.Ready(), "connection refused")
	a := brokertest.Run(t, open(t, addr))
	r := brokertest.Send(t, c, command.Drain{})
	again()
	brokertest.AwaitReady(t, l)
	brokertest.Succeed(t, r)
	a.Stop(1)
}
