package transport_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// heard notes what goes over the links of a transport.
type heard struct {
	transport.Transport
	hellos         []transport.Hello
	pages, acks, n int
}

func (h *heard) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	h.hellos = append(h.hellos, hello)
	l, err := h.Transport.Dial(ctx, hello)
	return heardLink{l, h}, err
}

type heardLink struct {
	transport.Link
	h *heard
}

func (l heardLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page, err := l.Link.Receive(ctx)
	if err == nil {
		l.h.pages++
	}
	return page, err
}

func (l heardLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	l.h.acks++
	return l.Link.Ack(ctx, acks...)
}

func (l heardLink) Report(ctx context.Context, events ...event.Event) error {
	l.h.n++
	return l.Link.Report(ctx, events...)
}

func TestSplit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		upFaults, downFaults := fault.New(c, fault.Plan{}), fault.New(c, fault.Plan{})
		down, up := &heard{Transport: downFaults}, &heard{Transport: upFaults}
		split := transport.Split(down, up)
		hello := transport.Hello{VM: "vm-1", Instance: "i-1", After: "x", Window: 7}
		l, err := split.Dial(t.Context(), hello)
		require.NoError(t, err)
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		r, err := c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		_, err = l.Receive(t.Context())
		require.NoError(t, err)
		require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
		require.NoError(t, l.Report(t.Context(), event.Event{Type: "x"}))
		require.Equal(t, []int{1, 0, 0, 0, 1, 1}, []int{down.pages, down.acks, down.n, up.pages, up.acks, up.n})
		require.Equal(t, []transport.Hello{hello}, down.hellos)
		require.Equal(t, []transport.Hello{{VM: "vm-1", Instance: "i-1", Uplink: true}}, up.hellos)

		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = l.Receive(ctx)
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// The end of either side is the end of the link.
		upFaults.CutAll()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, fault.ErrInjected)
		require.ErrorContains(t, err, "up: ")
		require.NoError(t, l.Close())
		require.NoError(t, l.Close())
		l, err = split.Dial(t.Context(), hello)
		require.NoError(t, err)
		downFaults.CutAll()
		_, err = l.Receive(t.Context())
		require.ErrorIs(t, err, fault.ErrInjected)
		require.NoError(t, l.Close())
		p, _ := c.Presence("vm-1")
		require.False(t, p.Attached)

		// An uplink of a split is the uplink of its upper side.
		l, err = split.Dial(t.Context(), transport.Hello{VM: "vm-1", Uplink: true})
		require.NoError(t, err)
		require.NoError(t, l.Report(t.Context()))
		require.NoError(t, l.Close())
		require.Len(t, down.hellos, 2)
	})
}

// A side that cannot be dialled leaves no link of the other.
func TestSplitDial(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	closed := &road{to: c, state: "closed"}
	for want, split := range map[string]transport.Transport{
		"up: closed":   transport.Split(c, closed),
		"down: closed": transport.Split(closed, c),
	} {
		_, err := split.Dial(t.Context(), transport.Hello{VM: "vm-1"})
		require.EqualError(t, err, want)
	}
	p, _ := c.Presence("vm-1")
	require.False(t, p.Attached)
	_, err := transport.Split(c, &road{to: c, state: "revoked"}).Dial(t.Context(), transport.Hello{VM: "vm-1"})
	require.ErrorIs(t, err, transport.ErrRevoked)
	require.True(t, transport.Terminal(err))
}
