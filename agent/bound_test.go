package agent_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// torrent is a controller that sends without end, and records nothing.
type torrent struct{ dials, sent atomic.Int64 }

func (c *torrent) Dial(context.Context, transport.Hello) (transport.Link, error) {
	c.dials.Add(1)
	return &torrentLink{c, make(chan struct{})}, nil
}

type torrentLink struct {
	c    *torrent
	done chan struct{}
}

func (l *torrentLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page := make([]transport.Delivery, 100)
	for i := range page {
		page[i] = transport.Delivery{Cursor: "e.1.0", Attempt: 1, Command: command.Command{ID: fmt.Sprint(l.c.sent.Add(1)), Type: "levitate"}}
	}
	return page, ctx.Err()
}

func (l *torrentLink) Ack(ctx context.Context, _ ...ack.Ack) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-l.done:
		return transport.ErrClosed
	}
}

func (l *torrentLink) Report(context.Context, ...event.Event) error { return nil }

func (l *torrentLink) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

// What an agent holds for a controller that sends more than anybody asked for has an end: the link.
func TestMoreThanAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &torrent{}
		a, err := agent.New(c, agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
		defer cancel()
		require.NoError(t, a.Run(ctx))
		require.Greater(t, c.dials.Load(), int64(50))
		require.LessOrEqual(t, c.sent.Load(), 4096+1024+100*(2+c.dials.Load()), "beside the acks under way, each link but the first ends with its first page")
	})
}

// eternal is a controller that is to be asked again in the year 2320.
type eternal struct{ dials int }

func (c *eternal) Dial(context.Context, transport.Hello) (transport.Link, error) {
	c.dials++
	return nil, &transport.Error{Code: transport.CodeUnavailable, RetryAfter: 1 << 62}
}

// A controller may have an agent wait, but not for longer than a day.
func TestRetryAfterIsBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &eternal{}
		a, err := agent.New(c, agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), 10*24*time.Hour)
		defer cancel()
		require.NoError(t, a.Run(ctx))
		require.Greater(t, c.dials, 8)
	})
}
