package framed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// Scenarios 55 to 58: who is in front of the door is asked for a token, and let in until it expires.
func TestAuthenticate(t *testing.T) {
	t.Parallel()
	const lifetime = time.Hour + time.Second // not a moment at which a ping fails, too
	o := framed.ServeOptions{Authenticate: func(_ context.Context, vm, token string) (transport.Grant, error) {
		require.Equal(t, "vm-1", vm)
		if token != "t0ken" {
			return transport.Grant{}, transport.ErrRevoked
		}
		return transport.Grant{Expires: time.Now().Add(lifetime)}, nil
	}}
	inWorldWith(t, o, nil, func(t *testing.T, w *world) {
		_, err := framed.Dial(t.Context(), w.agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{Token: "token"})
		require.ErrorIs(t, err, transport.ErrRevoked)
		require.ErrorIs(t, <-w.ended, transport.ErrRevoked)
		_, known := w.c.Presence("vm-1")
		require.False(t, known)
	})
	inWorldWith(t, o, nil, func(t *testing.T, w *world) {
		began := time.Now()
		l, err := framed.Dial(t.Context(), w.agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{Token: "t0ken"})
		require.NoError(t, err)
		defer l.Close()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrCredentialsExpired)
		require.Equal(t, lifetime, time.Since(began))
		require.ErrorIs(t, <-w.ended, transport.ErrCredentialsExpired)
	})
}

// A peer may say nothing only so often: pings, answers to none, and what a later version may mean.
func TestBabble(t *testing.T) {
	t.Parallel()
	for _, frame := range []string{`{"n":%d,"ping":true}`, `{"n":%d,"pong":true}`, `{"n":%d}`, `{"n":%d,"of_later":[1]}`} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			w.say(hello)
			require.NotNil(t, w.hear().Welcome)
			ended := make(chan error, 1)
			go func() {
				for {
					f, err := w.agent.Recv()
					if err == nil && f.Close != nil {
						err = errors.New(string(f.Close.Code))
					}
					if err != nil {
						ended <- err
						return
					}
				}
			}()
			n := 2
			for range 3 { // as often as is allowed, and for long
				for range 200 {
					w.say(fmt.Sprintf(frame, n))
					n++
				}
				synctest.Wait()
				time.Sleep(10 * time.Second)
			}
			require.Empty(t, ended)
			for range 201 {
				_ = w.agent.write([]byte(fmt.Sprintf(frame, n)))
				n++
			}
			require.EqualError(t, <-ended, "rate_limited")
			require.ErrorIs(t, <-w.ended, transport.ErrRateLimited)
		})
	}
}

// A frame of more than may be is refused, however small its parts.
func TestTooMany(t *testing.T) {
	t.Parallel()
	for _, kind := range []string{"acks", "events"} {
		inWorld(t, nil, func(t *testing.T, w *world) {
			w.say(hello)
			require.NotNil(t, w.hear().Welcome)
			w.say(`{"n":2,"` + kind + `":[` + strings.Repeat("{},", 500_000) + `{}]}`)
			f := w.hear()
			require.NotNil(t, f.Close)
			require.Equal(t, transport.CodeTooLarge, f.Close.Code)
		})
	}
	synctest.Test(t, func(t *testing.T) {
		agent, server := newMemoryPipe(16)
		go func() {
			_, _ = server.Recv()
			_ = server.write([]byte(`{"n":1,"welcome":{"version":1,"keepalive":15}}`))
			_ = server.write([]byte(`{"n":2,"commands":[` + strings.Repeat("{},", 500_000) + `{}]}`))
		}()
		defer server.Close()
		l, err := framed.Dial(t.Context(), agent, transport.Hello{VM: "vm-1"}, framed.DialOptions{})
		require.NoError(t, err)
		defer l.Close()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrTooLarge)
	})
}

// Nor is it taken from a pipe that decodes frames by itself, and does not count.
func TestTooManyDecoded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		agent, server := newMemoryPipe(16)
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		defer agent.Close()
		ended := make(chan error, 1)
		go func() {
			ended <- framed.Serve(t.Context(), &uncounted{Pipe: server}, c, framed.ServeOptions{VM: "vm-1", Name: "memory"})
		}()
		w := &world{t: t, c: c, agent: agent}
		w.say(hello)
		require.NotNil(t, w.hear().Welcome)
		w.say(`{"n":2,"acks":[]}`)
		require.Equal(t, transport.CodeTooLarge, w.hear().Close.Code)
		require.ErrorIs(t, <-ended, transport.ErrTooLarge)
	})
}

// uncounted is a pipe whose frames of acks have more than is allowed.
type uncounted struct{ framed.Pipe }

func (p *uncounted) Recv() (*framed.Frame, error) {
	f, err := p.Pipe.Recv()
	if err == nil && f.Acks != nil {
		f.Acks = make([]ack.Ack, ack.MaxBatch+1)
	}
	return f, err
}

// What a peer sends is not read on while too much of it waits for the ledger, in frames or in bytes.
func TestQueueIsBounded(t *testing.T) {
	t.Parallel()
	const buffered = 16 // frames, in the pipe
	small, large := "", strings.Repeat("x", 1<<20)
	for _, test := range []struct {
		name, frame, text string
		least, most       int // frames; as many as wait may be under way to the ledger
	}{
		{"acks", `{"n":%d,"acks":[{"command_id":"c","status":"failed","reason":"%s"}]}`, small, 64, 2*64 + 2 + buffered},
		{"large acks", `{"n":%d,"acks":[{"command_id":"c","status":"failed","reason":"%s"}]}`, large, 5, 2*5 + 2 + buffered},
		{"events", `{"n":%d,"events":[{"type":"%s"}]}`, small, 64, 2*64 + 2 + buffered},
		{"large events", `{"n":%d,"events":[{"type":"%s"}]}`, large, 5, 2*5 + 2 + buffered},
	} {
		synctest.Test(t, func(t *testing.T) {
			agent, server := newMemoryPipe(buffered)
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			release := make(chan struct{})
			ended := make(chan error, 1)
			go func() {
				ended <- framed.Serve(t.Context(), server, stuck{slowly{c}, release}, framed.ServeOptions{VM: "vm-1", Name: "memory"})
			}()
			w := &world{t: t, c: c, agent: agent}
			w.say(hello)
			require.NotNil(t, w.hear().Welcome)
			w.say(`{"n":2,"acks":[{"command_id":"c","status":"failed"}]}`) // how long it takes is seen
			require.EqualValues(t, 2, w.hear().Recorded.Upto)
			said := new(atomic.Int32)
			go func() {
				for n := 3; n < 500 && agent.write(fmt.Appendf(nil, test.frame, n, test.text)) == nil; n++ {
					said.Add(1)
				}
			}()
			synctest.Wait()
			require.GreaterOrEqual(t, int(said.Load()), test.least, test.name)
			require.LessOrEqual(t, int(said.Load()), test.most, test.name)
			close(release)
			agent.Close()
			<-ended
		})
	}
}

// stuck is a Transport whose links take one batch of acks, and then nothing until they are released.
type stuck struct {
	transport.Transport
	released <-chan struct{}
}

func (s stuck) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := s.Transport.Dial(ctx, h)
	return &stuckLink{Link: l, released: s.released}, err
}

type stuckLink struct {
	transport.Link
	released <-chan struct{}
	took     bool
}

func (s *stuckLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	if s.took {
		<-s.released
	}
	s.took = true
	return s.Link.Ack(ctx, acks...)
}

func (s *stuckLink) Report(ctx context.Context, events ...event.Event) error {
	<-s.released
	return s.Link.Report(ctx, events...)
}
