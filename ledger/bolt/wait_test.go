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
				return e.Acked(ack.Ack{Stage: ack.Succeeded}, ledger.Speaker{}, time.Now())
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

// Who waits for the writer when the ledger is closed hears of it, and what is said to be there is.
func TestCloseWithWaiting(t *testing.T) {
	for range 10 { // the writer may take what waits, or not
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			id := appendTo(t, l, command.Options{})
			goOn := make(chan struct{})
			go func() {
				_, _ = l.Update(t.Context(), "vm-1", ledger.Edit{ID: id, Do: func(*ledger.Entry) error {
					<-goOn
					return nil
				}})
			}()
			synctest.Wait()
			c, err := command.New(command.Drain{}, command.Options{})
			require.NoError(t, err)
			appended := make(chan error, 1)
			go func() {
				_, err := l.Append(t.Context(), "vm-1", c, ledger.Limits{}, time.Now())
				appended <- err
			}()
			synctest.Wait()
			go l.Close()
			synctest.Wait()
			close(goOn)
			said := <-appended
			require.NoError(t, l.Close())

			l = open(t, dir)
			_, err = l.Get(t.Context(), c.ID)
			if said == nil {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, said, ledger.ErrClosed)
				require.ErrorIs(t, err, ledger.ErrNotFound)
			}
			require.NoError(t, l.Close())
		})
	}
}
