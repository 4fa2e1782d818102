package transport_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// road is a way to a controller whose state the test sets.
type road struct {
	to transport.Transport

	mu    sync.Mutex
	state string // "": open; "closed", "silent": takes a dial and says nothing; "dies": at once after it
	dials int
	meet  func()        // what happens while it is dialled; may be nil
	wait  time.Duration // that it asks for where it is "stopping"
}

func (r *road) be(state string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.state = state
}

func (r *road) dialed() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.dials
}

func (r *road) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	r.mu.Lock()
	state := r.state
	r.dials++
	r.mu.Unlock()
	if r.meet != nil {
		r.meet()
	}
	switch state {
	case "closed":
		return nil, errors.New("closed")
	case "silent":
		<-ctx.Done()
		return nil, ctx.Err()
	case "unauthorized":
		return nil, transport.ErrUnauthorized
	case "revoked":
		return nil, transport.ErrRevoked
	case "stopping":
		return nil, fmt.Errorf("welcome: %w", &transport.Error{Code: transport.CodeUnavailable, Message: "the controller is stopping", RetryAfter: r.wait})
	}
	l, err := r.to.Dial(ctx, h)
	switch {
	case err != nil:
	case state == "dies":
		l = dying{l}
	case state == "mute", state == "idle", state == "wanes", state == "fails late", state == "foreign":
		l = &mute{l, state}
	}
	return l, err
}

// mute is a link over which nothing comes. Its end is noticed after a while.
type mute struct {
	transport.Link
	state string
}

func (l *mute) Proven() bool { return l.state != "mute" && l.state != "idle" }

func (l *mute) Receive(ctx context.Context) ([]transport.Delivery, error) {
	lives, err := 30*time.Second, fmt.Errorf("road: %w", transport.ErrSilent)
	switch l.state {
	case "idle", "fails late":
		err = errors.New("connection reset")
	case "wanes":
		lives = time.Hour
	case "foreign":
		err = &transport.ForeignError{Status: 403, Message: "something between answered 403"}
	}
	select {
	case <-time.After(lives):
		return nil, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type dying struct{ transport.Link }

func (dying) Receive(context.Context) ([]transport.Delivery, error) {
	return nil, errors.New("connection reset")
}

// inFallback is a test with a fallback of two ways.
func inFallback(t *testing.T, o transport.FallbackOptions, test func(t *testing.T, f *transport.Fallback, ways [2]*road)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		ways := [2]*road{{to: c}, {to: c}}
		test(t, transport.NewFallback(o, transport.Way{Name: "good", Transport: ways[0]}, transport.Way{Name: "lesser", Transport: ways[1]}), ways)
	})
}

var hello = transport.Hello{VM: "vm-1", Instance: "a"}

func TestFallbackTakesTheFirstThatWorks(t *testing.T) {
	t.Parallel()
	for state, wait := range map[string]time.Duration{"closed": 0, "silent": 15 * time.Second} {
		inFallback(t, transport.FallbackOptions{}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
			ways[0].be(state)
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			began := time.Now()
			l, err := f.Dial(ctx, hello)
			require.NoError(t, err, "%s", state)
			require.Equal(t, wait, time.Since(began))
			require.Equal(t, 1, ways[1].dialed())
			require.NoError(t, l.Close())
		})
	}
}

// A link that has passed nothing since its welcome is not good, however long it has been open, and silence is held against
// its way. One that has worked is.
func TestFallbackLeavesAWayThatPassesNothing(t *testing.T) {
	t.Parallel()
	for state, left := range map[string]bool{"mute": true, "idle": true, "foreign": true, "wanes": false, "fails late": false} {
		inFallback(t, transport.FallbackOptions{}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
			ways[0].be(state)
			for range 4 {
				l, err := f.Dial(t.Context(), hello)
				require.NoError(t, err)
				ctx, cancel := context.WithTimeout(t.Context(), 50*time.Second)
				if state == "wanes" {
					cancel()
					ctx, cancel = context.WithTimeout(t.Context(), 2*time.Hour)
				}
				_, err = l.Receive(ctx)
				require.Error(t, err)
				cancel()
				require.NoError(t, l.Close())
			}
			require.Equal(t, left, ways[1].dialed() > 0, state)
		})
	}
}

func TestFallbackWithoutAWay(t *testing.T) {
	t.Parallel()
	inFallback(t, transport.FallbackOptions{}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
		ways[0].be("closed")
		ways[1].be("silent")
		_, err := f.Dial(t.Context(), hello)
		require.ErrorContains(t, err, "good: closed")
		require.ErrorContains(t, err, "lesser: context deadline exceeded")

		ways[0].be("unauthorized")
		ways[1].be("unauthorized")
		_, err = f.Dial(t.Context(), hello)
		require.EqualError(t, err, "good, lesser: miglink: unauthorized", "what both say is there once")
		require.ErrorIs(t, err, transport.ErrUnauthorized)

		ways[0].be("stopping")
		ways[1].be("stopping")
		ways[0].wait, ways[1].wait = time.Second, 2*time.Second
		_, err = f.Dial(t.Context(), hello)
		require.EqualError(t, err, "good, lesser: welcome: miglink: unavailable: the controller is stopping (retry after 1s)", "though it asks for another wait on each")
		require.Equal(t, time.Second, transport.RetryAfter(err), "the one that is shown")

		ways[0].be("revoked")
		before := ways[1].dialed()
		_, err = f.Dial(t.Context(), hello)
		require.ErrorIs(t, err, transport.ErrRevoked)
		require.Equal(t, before, ways[1].dialed(), "what is final on one way is so on all")

		_, err = transport.NewFallback(transport.FallbackOptions{}).Dial(t.Context(), hello)
		require.Error(t, err)
	})
}

// A way that accepts and then dies at once is left, for a while.
func TestFallbackLeavesAWayThatDies(t *testing.T) {
	t.Parallel()
	inFallback(t, transport.FallbackOptions{}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
		ways[0].be("dies")
		for range 2 {
			l, err := f.Dial(t.Context(), hello)
			require.NoError(t, err)
			_, err = l.Receive(t.Context())
			require.ErrorContains(t, err, "connection reset")
			require.NoError(t, l.Close())
		}
		require.Zero(t, ways[1].dialed())
		l, err := f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Equal(t, 2, ways[0].dialed())
		require.Equal(t, 1, ways[1].dialed())

		ways[1].be("closed") // then it is better than nothing
		ways[0].be("")
		l, err = f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.NoError(t, l.Close())

		ways[1].be("")
		time.Sleep(time.Minute)
		l, err = f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.Equal(t, 4, ways[0].dialed())
	})
}

// A way that comes into penalty while another is dialled is not tried again.
func TestFallbackTriesEachWayOnce(t *testing.T) {
	t.Parallel()
	inFallback(t, transport.FallbackOptions{}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
		ways[0].be("dies")
		var links [2]transport.Link
		for i := range links {
			var err error
			links[i], err = f.Dial(t.Context(), hello)
			require.NoError(t, err)
		}
		ways[0].be("closed")
		ways[1].be("closed")
		ways[1].meet = func() {
			for _, l := range links {
				_, err := l.Receive(t.Context())
				require.Error(t, err)
			}
		}
		_, err := f.Dial(t.Context(), hello)
		require.ErrorContains(t, err, "closed")
		require.Equal(t, 3, ways[0].dialed())
		require.Equal(t, 1, ways[1].dialed())
		for _, l := range links {
			require.NoError(t, l.Close())
		}
	})
}

// From a lesser way it looks for the better one, and moves once that is open.
func TestFallbackGoesBackUp(t *testing.T) {
	t.Parallel()
	inFallback(t, transport.FallbackOptions{Probe: time.Minute}, func(t *testing.T, f *transport.Fallback, ways [2]*road) {
		ways[0].be("closed")
		l, err := f.Dial(t.Context(), hello)
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		_, err = l.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.InDelta(t, 60, ways[0].dialed(), 25, "a look a minute")

		ways[0].be("")
		began := time.Now()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, transport.ErrMoved)
		require.LessOrEqual(t, time.Since(began), 90*time.Second)
		require.NoError(t, l.Close())
	})
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	open := func(transport.Config) (transport.Transport, error) { return &road{state: "closed"}, nil }
	r := transport.Registry{
		{Name: "ws", Open: open},
		{Name: "sse", Open: open},
		{Name: "bad", Open: func(transport.Config) (transport.Transport, error) { return nil, errors.New("no URL") }},
	}
	require.Equal(t, []string{"ws", "sse", "bad"}, r.Names())
	for spec, says := range map[string]string{
		"ws": "closed", "ws,sse": "sse: closed", "ws, sse": "sse: closed", "sse+ws": "up: closed",
	} {
		tr, err := r.Open(spec, transport.Config{})
		require.NoError(t, err, spec)
		_, err = tr.Dial(t.Context(), hello)
		require.ErrorContains(t, err, says, spec)
	}
	// A transport over a broker is no part of auto where no broker is named.
	over := append(transport.Registry{{Name: "mq", Open: func(transport.Config) (transport.Transport, error) { return nil, transport.ErrNoBroker }}}, r[:2]...)
	tr, err := over.Open("auto", transport.Config{})
	require.NoError(t, err)
	_, err = tr.Dial(t.Context(), hello)
	require.EqualError(t, err, "ws, sse: closed")
	_, err = over.Open("mq,ws", transport.Config{})
	require.ErrorIs(t, err, transport.ErrNoBroker)

	for spec, says := range map[string]string{
		"": "unknown transport", "carrier-pigeon": "known are ws, sse, bad", "ws,": "unknown transport", "ws+": "unknown transport",
		"+ws": "unknown transport", "bad": "transport bad: no URL", "auto": "transport bad: no URL", "ws+bad": "no URL",
	} {
		_, err := r.Open(spec, transport.Config{})
		require.ErrorContains(t, err, says, spec)
	}
}
