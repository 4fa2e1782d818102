package fault_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// directly is a transport whose links are Direct.
type directly struct{ transport.Transport }

func (d directly) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := d.Transport.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return linktest.Direct(l), nil
}

func dialDirect(t *testing.T, p fault.Plan) (transport.Direct, *controller.Receipt) {
	f, r := wrapped(t, p, func(to transport.Transport) transport.Transport { return directly{to} })
	l, err := f.Dial(t.Context(), hello)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, l.Close()) })
	require.Implements(t, (*transport.Direct)(nil), l)
	return l.(transport.Direct), r
}

// Faults strike links that are Direct, too.
func TestFaultsOfDirectLinks(t *testing.T) {
	t.Parallel()
	for _, lost := range []bool{false, true} { // what is posted, cut before or after it took effect
		plan, stage := fault.Plan{Cut: 1}, ack.Queued
		if lost {
			plan, stage = fault.Plan{Lost: 1}, ack.Succeeded
		}
		l, r := dialDirect(t, plan)
		posted := make(chan error, 1)
		l.Post([]ack.Ack{{CommandID: r.ID(), Stage: ack.Succeeded}}, func(err error) { posted <- err })
		require.ErrorIs(t, <-posted, fault.ErrInjected)
		_, err := l.Receive(t.Context())
		require.ErrorIs(t, err, fault.ErrInjected)
		e, err := r.WaitFor(t.Context(), func(ledger.Entry) bool { return true })
		require.NoError(t, err)
		require.Equal(t, stage, e.State.Stage)
		l.Post([]ack.Ack{{CommandID: r.ID(), Stage: ack.Succeeded}}, func(err error) { posted <- err })
		require.ErrorIs(t, <-posted, fault.ErrInjected, "after the end")
	}

	pages := make(chan string, 10)
	take := func(page []transport.Delivery) { pages <- page[0].ID }
	l, _ := dialDirect(t, fault.Plan{Cut: 1})
	l.Deliver(take)
	_, err := l.Receive(t.Context())
	require.ErrorIs(t, err, fault.ErrInjected)
	require.Empty(t, pages, "a page that was cut")

	l, r := dialDirect(t, fault.Plan{Lost: 1})
	l.Deliver(take)
	require.Equal(t, r.ID(), <-pages)
	_, err = l.Receive(t.Context())
	require.ErrorIs(t, err, fault.ErrInjected)

	l, r = dialDirect(t, fault.Plan{Duplicate: 1})
	l.Deliver(take)
	require.Equal(t, r.ID(), <-pages)
	require.Equal(t, r.ID(), <-pages)
}
