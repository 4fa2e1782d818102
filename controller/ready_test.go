package controller_test

import (
	"context"
	"errors"
	"sync/atomic"
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

// fullDisk is a ledger that cannot write while it is full.
type fullDisk struct {
	ledger.Ledger
	full atomic.Bool
}

var errFull = errors.New("no space left on device")

func (f *fullDisk) Append(ctx context.Context, vm string, cmd command.Command, l ledger.Limits, now time.Time) (ledger.Appended, error) {
	if f.full.Load() {
		return ledger.Appended{}, errFull
	}
	return f.Ledger.Append(ctx, vm, cmd, l, now)
}

func (f *fullDisk) Update(ctx context.Context, vm string, edits ...ledger.Edit) ([]ledger.Edited, error) {
	if f.full.Load() {
		return nil, errFull
	}
	return f.Ledger.Update(ctx, vm, edits...)
}

// A controller is not ready while its ledger cannot write, and is again when something was written, or nothing was tried for
// a while. What the ledger refuses by its rules is no failure, and what changes nothing no success.
func TestReady(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		disk := &fullDisk{Ledger: memory.New()}
		c := controller.New(disk, controller.Options{Limits: ledger.Limits{Commands: 3}})
		require.NoError(t, c.Ready())
		send := func(id string) error {
			cmd, err := command.New(command.Drain{}, command.Options{ID: id})
			require.NoError(t, err)
			_, err = c.Send(t.Context(), "vm-1", cmd)
			return err
		}
		require.NoError(t, send("c-1"))

		disk.full.Store(true)
		require.ErrorIs(t, send("c-2"), transport.ErrInternal)
		require.EqualError(t, c.Ready(), "the ledger cannot write: no space left on device")
		disk.full.Store(false)
		require.NoError(t, send("c-1"), "it is known already, and nothing is written")
		link, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
		require.NoError(t, err)
		require.Error(t, link.Ack(t.Context(), ack.Ack{CommandID: "nobody", Stage: ack.Succeeded}))
		require.Error(t, c.Ready())
		require.NoError(t, send("c-2"))
		require.NoError(t, c.Ready())

		disk.full.Store(true)
		require.Error(t, link.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Started}))
		require.Error(t, c.Ready())
		disk.full.Store(false)
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Started}))
		require.NoError(t, c.Ready())

		require.NoError(t, send("c-3"))
		require.ErrorIs(t, send("c-4"), transport.ErrQueueFull)
		require.NoError(t, c.Ready(), "that is a rule")
		canceled, cancel := context.WithCancel(t.Context())
		cancel()
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(canceled, "vm-2", cmd)
		require.Error(t, err)
		require.NoError(t, c.Ready(), "who asked has given up")

		disk.full.Store(true)
		require.Error(t, send("c-5"))
		time.Sleep(29 * time.Second)
		require.Error(t, c.Ready())
		time.Sleep(time.Second)
		require.NoError(t, c.Ready(), "somebody has to try")
		link.Close()
		require.NoError(t, c.Close())
		require.ErrorIs(t, c.Ready(), transport.ErrUnavailable)
	})
}
