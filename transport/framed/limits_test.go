package framed_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

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
