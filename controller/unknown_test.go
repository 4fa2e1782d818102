package controller_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// storesAndFails is a ledger whose writes take place and then seem to have failed, while it is down.
type storesAndFails struct {
	ledger.Ledger
	down bool
}

var errDisk = errors.New("input/output error")

func (l *storesAndFails) Append(ctx context.Context, vm string, cmd command.Command, limits ledger.Limits, now time.Time) (ledger.Appended, error) {
	a, err := l.Ledger.Append(ctx, vm, cmd, limits, now)
	if l.down {
		return ledger.Appended{}, errDisk
	}
	return a, err
}

func (l *storesAndFails) Update(ctx context.Context, vm string, edits ...ledger.Edit) ([]ledger.Edited, error) {
	e, err := l.Ledger.Update(ctx, vm, edits...)
	if l.down {
		return nil, errDisk
	}
	return e, err
}

// Whoever hears that a write failed tries again. That the write took place all the same must not keep
// the command from going out, nor those who wait for its end from hearing of it.
func TestWritesThatSeemToHaveFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &storesAndFails{Ledger: memory.New(), down: true}
		c := controller.New(l, controller.Options{})
		defer c.Close()
		link, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i-1"})
		require.NoError(t, err)
		defer link.Close()
		received := make(chan []transport.Delivery)
		go func() {
			page, err := link.Receive(t.Context())
			require.NoError(t, err)
			received <- page
		}()
		synctest.Wait()
		began := time.Now()

		cmd, err := command.New(command.Drain{}, command.Options{ID: "c-1"})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.ErrorIs(t, err, transport.ErrInternal)
		l.down = false
		r, err := c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		require.False(t, r.Created())
		require.Equal(t, "c-1", (<-received)[0].ID)

		settled := make(chan ledger.Entry)
		go func() {
			e, err := r.Wait(t.Context())
			require.NoError(t, err)
			settled <- e
		}()
		synctest.Wait()
		l.down = true
		done := ack.Ack{CommandID: "c-1", Stage: ack.Succeeded, Attempt: 1}
		require.ErrorIs(t, link.Ack(t.Context(), done), transport.ErrInternal)
		l.down = false
		require.NoError(t, link.Ack(t.Context(), done))
		require.Equal(t, ack.Succeeded, (<-settled).State.Stage)
		require.Zero(t, time.Since(began), "nobody waited for a deadline")
	})
}
