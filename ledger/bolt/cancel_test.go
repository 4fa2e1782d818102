package bolt_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
)

// Who gives up before the writer has begun has done nothing, and hears so at once; after that, what was done is heard.
func TestGiveUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := open(t, t.TempDir())
		id := appendTo(t, l, command.Options{})
		goOn := make(chan struct{})
		updating, giveUp := context.WithCancel(t.Context())
		updated := make(chan error, 1)
		go func() {
			_, err := l.Update(updating, "vm-1", ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
				<-goOn
				return e.Acked(ack.Ack{Stage: ack.Succeeded}, time.Now())
			}})
			updated <- err
		}()
		synctest.Wait()
		giveUp()

		appending, giveUp := context.WithCancel(t.Context())
		c, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		appended := make(chan error, 1)
		go func() {
			_, err := l.Append(appending, "vm-1", c, ledger.Limits{}, time.Now())
			appended <- err
		}()
		synctest.Wait()
		require.Empty(t, appended)
		giveUp()
		require.ErrorIs(t, <-appended, context.Canceled)
		require.Empty(t, updated)
		close(goOn)
		require.NoError(t, <-updated)

		e, err := l.Get(t.Context(), id)
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
		appendTo(t, l, command.Options{}) // after what has waited
		_, err = l.Get(t.Context(), c.ID)
		require.ErrorIs(t, err, ledger.ErrNotFound)
		require.NoError(t, l.Close())
	})
}
