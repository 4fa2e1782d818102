package gcppubsub_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// What is wrong is said at once, and in a way that helps.
func TestErrors(t *testing.T) {
	t.Parallel()
	c := brokertest.Controller(t)
	for _, test := range []struct{ call, listen, dial string }{
		{"GetTopic", "no right to GetTopic", ""},
		{"CreateTopic", "no right to CreateTopic", ""},
		{"CreateSubscription", "no right to CreateSubscription", ""},
		{"Publish", "", "no right to Publish"},
	} {
		s := fake(t, pstest.WithErrorInjection(test.call, codes.PermissionDenied, "no right to "+test.call))
		l, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{Google: at(s.Addr)})
		if test.listen != "" {
			require.EqualError(t, err, "gcppubsub: "+test.listen)
			continue
		}
		require.NoError(t, err)
		_, err = brokertest.Dial(t, open(t, s.Addr))
		require.EqualError(t, err, "gcppubsub: "+test.dial)
		require.False(t, transport.Terminal(err))
		require.NoError(t, l.Close())
	}
	_, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{Google: at("127.0.0.1:1")})
	require.ErrorContains(t, err, "connection refused")
	_, err = brokertest.Dial(t, open(t, "127.0.0.1:1"))
	require.ErrorContains(t, err, "connection refused")
	_, err = brokertest.Dial(t, open(t, fake(t).Addr))
	require.EqualError(t, err, "gcppubsub: no controller has listened on this project yet")

	for _, bad := range []string{"", "p", "http://p"} {
		_, err := gcppubsub.New(bad, gcppubsub.Options{})
		require.ErrorContains(t, err, "gcppubsub://PROJECT", bad)
	}
	for _, bad := range []string{"gcppubsub://", "gcppubsub:p", "gcppubsub://p/a/b", "gcppubsub://a_b"} {
		_, err := gcppubsub.New(bad, gcppubsub.Options{})
		require.ErrorContains(t, err, "no name of a project", bad)
	}
	for _, prefix := range []string{"a b", "1a", "google", strings.Repeat("a", 101)} {
		_, err := gcppubsub.New(url, gcppubsub.Options{Prefix: prefix})
		require.ErrorContains(t, err, "no prefix", prefix)
	}
}

// An agent that may not consume its subscription hears of it.
func TestMayNotPull(t *testing.T) {
	t.Parallel()
	s := fake(t)
	listen(t, s, brokertest.Controller(t), gcppubsub.ListenOptions{})
	_, err := brokertest.Dial(t, open(t, s.Addr, grpc.WithStreamInterceptor(
		func(context.Context, *grpc.StreamDesc, *grpc.ClientConn, string, grpc.Streamer, ...grpc.CallOption) (grpc.ClientStream, error) {
			return nil, status.Error(codes.PermissionDenied, "no right to consume")
		})))
	require.EqualError(t, err, "gcppubsub: no right to consume")
}

// Any name of a VM does.
func TestNames(t *testing.T) {
	t.Parallel()
	s := fake(t)
	c := brokertest.Controller(t)
	listen(t, s, c, gcppubsub.ListenOptions{})
	for _, vm := range []string{"vm-1", "pool/vm 1", "a:b", "ü"} {
		l, err := open(t, s.Addr).Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
		require.NoError(t, err, vm)
		p, ok := c.Presence(vm)
		require.True(t, ok && p.Attached, vm)
		require.Equal(t, "gcppubsub", p.Transport)
		require.NoError(t, l.Close())
	}
}

// What a link has goes with it, and what a controller has with that, also where links are in a project of
// their own.
func TestNothingIsLeft(t *testing.T) {
	t.Parallel()
	s := fake(t)
	const url = "gcppubsub://main/p"
	l, err := gcppubsub.Listen(t.Context(), url, brokertest.Controller(t), gcppubsub.ListenOptions{Google: at(s.Addr)})
	require.NoError(t, err)
	tr, err := gcppubsub.New(url, gcppubsub.Options{Google: at(s.Addr)})
	require.NoError(t, err)
	for range 3 {
		link, err := brokertest.Dial(t, tr)
		require.NoError(t, err)
		require.Len(t, names(t, s), 2) // a topic and a subscription
		require.NoError(t, link.Close())
		require.Eventually(t, func() bool { return len(names(t, s)) == 0 }, 20*time.Second, time.Millisecond)
	}
	link, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.Empty(t, names(t, s))
	_, err = link.Receive(t.Context())
	require.EqualError(t, err, "gcppubsub: the other end is gone")
	require.NoError(t, link.Close())
	ss, err := s.GServer.ListSubscriptions(t.Context(), &pubsubpb.ListSubscriptionsRequest{Project: "projects/main"})
	require.NoError(t, err)
	require.Len(t, ss.Subscriptions, 1)
	require.Equal(t, "projects/main/subscriptions/miglink-hello", ss.Subscriptions[0].Name)
}

// What a controller has left that was killed more than a day ago is deleted; what others have is not.
func TestSweep(t *testing.T) {
	t.Parallel()
	s := fake(t)
	listen(t, s, brokertest.Controller(t), gcppubsub.ListenOptions{})
	link, err := brokertest.Dial(t, open(t, s.Addr))
	require.NoError(t, err)
	before := names(t, s)
	for _, name := range []string{"link-orphan", "link-foreign", "linked"} {
		topic := &pubsubpb.Topic{Name: topics + name}
		if name != "link-foreign" {
			topic.Labels = map[string]string{"miglink-controller": "dead"}
		}
		_, err := s.GServer.CreateTopic(t.Context(), topic)
		require.NoError(t, err)
	}
	listen(t, s, brokertest.Controller(t), gcppubsub.ListenOptions{})
	require.Eventually(t, func() bool {
		for _, n := range names(t, s) {
			if n == "topics/miglink-link-orphan" {
				return false
			}
		}
		return true
	}, 20*time.Second, time.Millisecond)
	require.Subset(t, names(t, s), append(before, "topics/miglink-link-foreign", "topics/miglink-linked"))
	require.NoError(t, link.Close())
}

// A hello is for the VM that its message names, and is answered once, while it is fresh.
func TestHellos(t *testing.T) {
	t.Parallel()
	s := fake(t)
	c := brokertest.Controller(t)
	listen(t, s, c, gcppubsub.ListenOptions{})
	s.PublishOrdered(topics+"hello", []byte("{}"), map[string]string{"vm": "vm-1", "session": "a/b", "n": "1"}, "vm-1")
	s.PublishOrdered(topics+"hello", []byte("{}"), map[string]string{"session": "x", "n": "1"}, "vm-1")
	say(t, s, "vm-1", "vm-2") // forbidden, and nobody is told
	s.SetTimeNowFunc(func() time.Time { return time.Now().Add(-time.Minute) })
	say(t, s, "vm-1", "vm-1")
	s.SetTimeNowFunc(time.Now)
	l, err := brokertest.Dial(t, open(t, s.Addr)) // of the same VM, so it comes after
	require.NoError(t, err)
	require.Len(t, names(t, s), 6)
	_, known := c.Presence("vm-2")
	require.False(t, known)
	require.NoError(t, l.Close())
}

// Messages that come twice are taken once; one that does not come ends the link.
func TestTwiceAndNever(t *testing.T) {
	t.Parallel()
	s := fake(t)
	listen(t, s, brokertest.Controller(t), gcppubsub.ListenOptions{Keepalive: time.Hour})
	l, err := brokertest.Dial(t, open(t, s.Addr))
	require.NoError(t, err)
	var topic, session string
	for _, n := range names(t, s) {
		if id, ok := strings.CutPrefix(n, "topics/miglink-link-"); ok {
			topic, session = "projects/p/"+n, id
		}
	}
	down := func(n int, frame string) {
		s.PublishOrdered(topic, []byte(frame), map[string]string{"n": strconv.Itoa(n), "session": session}, session)
	}
	drain := func(n int) {
		down(n, fmt.Sprintf(`{"n":%d,"commands":[{"id":"c-%d","type":"drain","attempt":1,"sequence":%d,"cursor":"x"}]}`, n, n, n))
	}
	for _, n := range []int{2, 2, 1, 3, 5} {
		drain(n)
	}
	for taken := 0; taken < 2; {
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		for _, d := range page {
			taken++
			require.Equal(t, fmt.Sprintf("c-%d", taken+1), d.ID)
		}
	}
	_, err = l.Receive(t.Context())
	require.EqualError(t, err, "framed: a frame was lost, repeated or out of order")
	require.NoError(t, l.Close())
}

// Of several controllers in one project each dial is taken by one; what one has served another takes when
// it is gone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := fake(t)
	shared := brokertest.Controller(t)
	first := listen(t, s, shared, gcppubsub.ListenOptions{})
	a := brokertest.Run(t, open(t, s.Addr))
	brokertest.Succeed(t, brokertest.Send(t, shared, command.Drain{}))
	listen(t, s, shared, gcppubsub.ListenOptions{})
	require.NoError(t, first.Close())
	brokertest.Succeed(t, brokertest.Send(t, shared, command.Drain{}))
	a.Stop(2)
}

// Streams end as they like, and what a controller needs is deleted from under it.
func TestStreamsEnd(t *testing.T) {
	t.Parallel()
	s := fake(t)
	s.SetStreamTimeout(300 * time.Millisecond)
	c := brokertest.Controller(t)
	listen(t, s, c, gcppubsub.ListenOptions{Keepalive: time.Second})
	brokertest.Survive(t, c, open(t, s.Addr), 5, func() {
		for _, n := range names(t, s) {
			if strings.HasPrefix(n, "subscriptions/miglink-up-") {
				_, err := s.GServer.DeleteSubscription(t.Context(), &pubsubpb.DeleteSubscriptionRequest{Subscription: "projects/p/" + n})
				require.NoError(t, err)
			}
		}
	})
}

// Two relays serve one broker at the same time; what one has is taken by the other when it is cut off.
func TestShare(t *testing.T) {
	t.Parallel()
	s := fake(t)
	brokertest.Share(t, s.Addr, func(addr string, to transport.Transport) (io.Closer, error) {
		return gcppubsub.Listen(t.Context(), url, to, gcppubsub.ListenOptions{Google: at(addr), Keepalive: brokertest.Keepalive})
	}, open(t, s.Addr))
}

// All is gone for a while, and then there is a project that knows nothing: nothing is lost or run twice.
func TestRestart(t *testing.T) {
	t.Parallel()
	s := pstest.NewServer()
	t.Cleanup(func() { s.Close() })
	addr := s.Addr
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	number, err := strconv.Atoi(port)
	require.NoError(t, err)
	c := brokertest.Controller(t)
	listen(t, s, c, gcppubsub.ListenOptions{Keepalive: brokertest.Keepalive})
	brokertest.Survive(t, c, open(t, addr), 2, func() {
		require.NoError(t, s.Close())
		s = pstest.NewServerWithPort(number)
		require.Equal(t, addr, s.Addr)
	})
}

// Others may watch, by subscriptions of their own.
func TestWatching(t *testing.T) {
	t.Parallel()
	s := fake(t)
	c := brokertest.Controller(t)
	listen(t, s, c, gcppubsub.ListenOptions{})
	for _, topic := range []string{"hello", "up"} {
		_, err := s.GServer.CreateSubscription(t.Context(), &pubsubpb.Subscription{Name: subs + "watch-" + topic, Topic: topics + topic, AckDeadlineSeconds: 10})
		require.NoError(t, err)
	}
	l, err := brokertest.Dial(t, open(t, s.Addr))
	require.NoError(t, err)
	r := brokertest.Send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	var seen []string
	for _, topic := range []string{"hello", "up"} {
		for more := true; more; {
			p, err := s.GServer.Pull(t.Context(), &pubsubpb.PullRequest{Subscription: subs + "watch-" + topic, MaxMessages: 100})
			require.NoError(t, err)
			for _, m := range p.ReceivedMessages {
				switch data := string(m.Message.Data); {
				case strings.Contains(data, `"hello"`):
					seen = append(seen, "hello of "+m.Message.Attributes["vm"])
				case strings.Contains(data, `"acks"`):
					seen = append(seen, "acks")
				case data == "":
					seen = append(seen, "gone")
				}
			}
			more = len(p.ReceivedMessages) > 0
		}
	}
	require.ElementsMatch(t, []string{"hello of vm-1", "acks", "gone"}, seen)
}
