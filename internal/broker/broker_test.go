package broker_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// Each name has one token, which stands for no other and is one part of any broker's subjects.
func TestNames(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		vm := rapid.StringN(1, 50, 200).Draw(t, "vm")
		token := broker.Token(vm)
		require.Empty(t, strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_="))
		back, err := broker.VM(token)
		require.NoError(t, err)
		require.Equal(t, vm, back)
	})
	for _, bad := range []string{"", "=", "=4", "=zz", "=41", "=2e", "a.b", "*"} {
		_, err := broker.VM(bad)
		require.Error(t, err, bad)
	}
	for session, ok := range map[string]bool{"a-1": true, "": false, "a.b": false, "*": false, strings.Repeat("a", 65): false} {
		require.Equal(t, ok, broker.Session(session), session)
	}
}

func TestSpeaks(t *testing.T) {
	t.Parallel()
	require.NoError(t, broker.Speaks("redis://h", "redis://host", "redis", "rediss"))
	require.Equal(t, transport.ErrNoBroker, broker.Speaks("", "redis://host", "redis"))
	err := broker.Speaks("nats://user:s3cret@h", "redis://host", "redis")
	require.ErrorIs(t, err, transport.ErrNoBroker)
	require.EqualError(t, err, "the broker's URL is to be like redis://host")
}

// wire is the messages that a pipe publishes.
type wire struct {
	mu       sync.Mutex
	sent     []string
	fails    int // times
	released int
}

func (w *wire) pipe() *broker.Pipe {
	return broker.NewPipe(broker.PipeOptions{
		Name: "mq",
		Publish: func(_ context.Context, b []byte) error {
			w.mu.Lock()
			defer w.mu.Unlock()
			if w.fails > 0 {
				w.fails--
				return errors.New("not now")
			}
			w.sent = append(w.sent, string(b))
			return nil
		},
		Release: func() { w.released++ },
	})
}

func TestPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &wire{}
		p := w.pipe()
		require.NoError(t, p.Send(&framed.Frame{N: 1, Ping: true}))
		p.Deliver([]byte(`{"n":1,"pong":true}`))
		f, err := p.Recv()
		require.NoError(t, err)
		require.True(t, f.Pong)
		w.fails = 3 // stale connections
		require.NoError(t, p.Close())
		require.NoError(t, p.Close())
		_, err = p.Recv()
		require.EqualError(t, err, "mq: the pipe is closed")
		require.Equal(t, []string{`{"n":1,"ping":true}`, ""}, []string{strings.TrimSpace(w.sent[0]), w.sent[1]})
		require.Equal(t, 1, w.released)
	})
}

// How a pipe ends is what both its calls say, and whether the other end is told.
func TestPipeEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end  func(*broker.Pipe)
		says string
		told int
	}{
		"closed": {func(p *broker.Pipe) { p.Close() }, "mq: the pipe is closed", 1},
		"failed": {func(p *broker.Pipe) { p.Fail(errors.New("lost")) }, "mq: lost", 0},
		"gone":   {func(p *broker.Pipe) { p.Deliver(nil) }, "mq: the other end is gone", 0},
		"too fast": {func(p *broker.Pipe) {
			for range 9 {
				p.Deliver(make([]byte, 2<<20))
			}
		}, "mq: messages come faster than they are read", 0},
		"too large": {func(p *broker.Pipe) { p.Deliver(make([]byte, 3<<20)) }, "a frame is larger than 2097152 bytes", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &wire{}
				p := w.pipe()
				test.end(p)
				_, err := p.Recv()
				require.ErrorContains(t, err, test.says)
				if name != "too large" { // the peer is told, and then it is closed
					require.EqualError(t, p.Send(&framed.Frame{Ping: true}), test.says)
				}
				synctest.Wait()
				require.Len(t, w.sent, test.told)
			})
		})
	}
}

// A server that closes says goodbye on each link, and does not take its own end for a lost connection.
func TestCloseSaysGoodbye(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		w := &wire{}
		p := &failing{Pipe: w.pipe()}
		s.Serve(s.Greet("vm-1", 0), p, broker.Hello{VM: "vm-1"})
		connect := func(context.Context) (int, error) { return 0, nil }
		require.NoError(t, broker.Keep(t.Context(), s, false, connect, func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}))
		synctest.Wait()
		s.Close()
		require.False(t, p.failed, "who comes first would be chance")
		require.Equal(t, []string{""}, w.sent)
	})
}

// A link may notice that its connection is lost before the server does. Its other end is told over a later connection.
func TestGoodbyeLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		defer s.Close()
		w := &wire{fails: 1000}
		p := w.pipe()
		s.Serve(s.Greet("vm-1", 0), p, broker.Hello{VM: "vm-1"})
		p.Close()
		time.Sleep(2 * time.Second) // it tries for one
		s.FailAll()()               // the next connection was lost at once
		w.fails = 0
		require.Empty(t, w.sent)
		s.FailAll()()
		require.Equal(t, []string{""}, w.sent)
		s.FailAll()()
		require.Equal(t, []string{""}, w.sent, "it is told once")
	})
}

// What a pipe releases may want the server, which waits for that.
func TestReleaseWantsTheServer(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		var released atomic.Bool
		p := broker.NewPipe(broker.PipeOptions{
			Name:    "mq",
			Publish: func(context.Context, []byte) error { return nil },
			Release: func() {
				time.Sleep(time.Second)
				s.Go(func() { released.Store(true) })
			},
		})
		s.Serve(s.Greet("vm-1", 0), p, broker.Hello{VM: "vm-1"})
		p.Close()
		time.Sleep(2 * time.Second)
		require.True(t, released.Load())
		s.Close()
	})
}

// An end that could not be told is forgotten when the other end must have noticed by itself.
func TestGoodbyeTooLate(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := broker.NewServer(nil, broker.ServerOptions{Name: "mq"})
		defer s.Close()
		w := &wire{fails: 10}
		p := w.pipe()
		s.Serve(s.Greet("vm-1", 0), p, broker.Hello{VM: "vm-1"})
		p.Close()
		time.Sleep(2 * time.Minute)
		s.Serve(s.Greet("vm-2", 0), (&wire{}).pipe(), broker.Hello{VM: "vm-2"})
		s.FailAll()()
		require.Empty(t, w.sent)
	})
}

// failing notes that it was failed.
type failing struct {
	*broker.Pipe
	failed bool
}

func (f *failing) Fail(err error) {
	f.failed = true
	f.Pipe.Fail(err)
}

// A hello that nobody answers is given up, sooner than an agent would, and the error says so.
func TestDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, err := broker.Dial(t.Context(), "mq", (&wire{}).pipe(), transport.Hello{VM: "vm-1"}, nil, nil)
		require.EqualError(t, err, "mq: no controller answered within 15s")
		require.Equal(t, broker.AnswerTime, time.Since(began))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = broker.Dial(ctx, "mq", (&wire{}).pipe(), transport.Hello{VM: "vm-1"}, nil, nil)
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// A stranger has a hello's room and no more; who is trusted has a frame's.
func TestGuardedPipe(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		guarded := func() *broker.Pipe {
			return broker.NewPipe(broker.PipeOptions{Name: "mq", Guarded: true, Publish: func(context.Context, []byte) error { return nil }, Release: func() {}})
		}
		p := guarded()
		p.Deliver(make([]byte, framed.MaxHello+1))
		_, err := p.Recv()
		require.ErrorIs(t, err, transport.ErrTooLarge)
		p.Close()

		p = guarded()
		for range 9 {
			p.Deliver(make([]byte, framed.MaxHello))
		}
		_, err = p.Recv()
		require.EqualError(t, err, "mq: messages come faster than they are read")

		p = guarded()
		require.NoError(t, p.Trust())
		p.Deliver(append(make([]byte, framed.MaxHello), `{"n":1,"ping":true}`...))
		_, err = p.Recv()
		require.ErrorIs(t, err, transport.ErrProtocol)
		p.Close()

		p = guarded()
		for range 1 << 20 { // tiny ones count for what they take
			p.Deliver([]byte{'{'})
		}
		_, err = p.Recv()
		require.EqualError(t, err, "mq: messages come faster than they are read")
	})
}
