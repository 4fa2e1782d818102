package transport_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/ledger/memory"
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

// runDirect takes one command of a link that has to be Direct, and posts its end.
func runDirect(t *testing.T, c *controller.Controller, l transport.Link) {
	t.Helper()
	require.Implements(t, (*transport.Direct)(nil), l)
	cmd, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	direct, posted := l.(transport.Direct), make(chan error, 1)
	direct.Deliver(func(page []transport.Delivery) {
		direct.ReadOn()
		for _, d := range page {
			direct.Post([]ack.Ack{{CommandID: d.ID, Stage: ack.Succeeded}}, func(err error) { posted <- err })
		}
	})
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)
	require.NoError(t, <-posted)
}

// A Fallback passes on what is Direct, and judges it all the same: a way whose links die is left.
func TestDirectThroughAFallback(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		faults := fault.New(directly{c}, fault.Plan{})
		lesser := &road{to: c}
		f := transport.NewFallback(transport.FallbackOptions{}, transport.Way{Name: "good", Transport: faults}, transport.Way{Name: "lesser", Transport: lesser})
		for range 2 {
			l, err := f.Dial(t.Context(), hello)
			require.NoError(t, err)
			runDirect(t, c, l)
			faults.CutAll()
			_, err = l.Receive(t.Context())
			require.ErrorIs(t, err, fault.ErrInjected)
			posted := make(chan error, 1)
			l.(transport.Direct).Post([]ack.Ack{{CommandID: "x", Stage: ack.Succeeded}}, func(err error) { posted <- err })
			require.ErrorIs(t, <-posted, fault.ErrInjected)
			require.NoError(t, l.Close())
		}
		require.Zero(t, lesser.dialed())
		l, err := f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.Equal(t, 1, lesser.dialed())
		_, is := l.(transport.Direct)
		require.False(t, is, "the links of this way are not")
		require.NoError(t, l.Close())
	})
}

// It is the post that has failed which is judged, where nothing else has noticed the end.
func TestDirectThroughAFallbackIsJudgedByWhatIsPosted(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		lesser := &road{to: c}
		f := transport.NewFallback(transport.FallbackOptions{},
			transport.Way{Name: "good", Transport: fault.New(directly{c}, fault.Plan{Cut: 1})}, transport.Way{Name: "lesser", Transport: lesser})
		for range 2 {
			l, err := f.Dial(t.Context(), hello)
			require.NoError(t, err)
			posted := make(chan error, 1)
			l.(transport.Direct).Post([]ack.Ack{{CommandID: "x", Stage: ack.Succeeded}}, func(err error) { posted <- err })
			require.ErrorIs(t, <-posted, fault.ErrInjected)
			require.NoError(t, l.Close())
		}
		l, err := f.Dial(t.Context(), hello)
		require.NoError(t, err)
		require.Equal(t, 1, lesser.dialed())
		require.NoError(t, l.Close())
	})
}

// downOnly is a transport whose links are Direct, and take no acks.
type downOnly struct{ transport.Transport }

func (d downOnly) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := d.Transport.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	return takesNone{linktest.Direct(l)}, nil
}

type takesNone struct{ transport.Direct }

func (takesNone) Post(_ []ack.Ack, done func(error)) { done(errors.New("acks go the other way")) }

// A Split is Direct where both its ways are: commands come down one, and their ends are posted to the other.
func TestDirectThroughASplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		up := fault.New(directly{c}, fault.Plan{})
		l, err := transport.Split(downOnly{c}, up).Dial(t.Context(), hello)
		require.NoError(t, err)
		runDirect(t, c, l)
		up.CutAll()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, fault.ErrInjected)
		require.NoError(t, l.Close())

		for _, ways := range [][2]transport.Transport{{c, directly{c}}, {directly{c}, c}} {
			l, err := transport.Split(ways[0], ways[1]).Dial(t.Context(), hello)
			require.NoError(t, err)
			_, is := l.(transport.Direct)
			require.False(t, is)
			require.NoError(t, l.Close())
		}
	})
}
