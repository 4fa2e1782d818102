package controller_test

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// A link that is pushed says when to look: for what is there, what is sent, what is due again, and its
// own end.
func TestPush(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{LinkLifetime: time.Hour}, func(w *world) {
		w.send("vm-1", command.Options{ID: "c-1"})
		l := w.dial(transport.Hello{VM: "vm-1"}).(transport.Pusher)
		due := make(chan struct{}, 100)
		l.Push(func(bool) { due <- struct{}{} })
		take := func(want ...string) {
			w.Helper()
			var got []string
			for {
				page, err := l.Take(nil)
				require.NoError(w, err)
				if len(page) == 0 {
					break
				}
				got = append(got, ids(page)...)
			}
			require.Equal(w, want, got)
			synctest.Wait()
			for len(due) > 0 {
				<-due
			}
		}
		<-due
		take("c-1")
		w.send("vm-1", command.Options{ID: "c-2"})
		<-due
		take("c-2")
		w.ack(l, "c-2", ack.Succeeded)
		synctest.Wait()
		require.Empty(w, due) // nothing has waited for it
		began := time.Now()
		<-due // nothing was heard of it
		require.Equal(w, 30*time.Second, time.Since(began))
		take("c-1")
		w.ack(l, "c-1", ack.Succeeded)
		<-due
		take()
		<-due
		_, err := l.Take(nil)
		require.ErrorIs(w, err, transport.ErrMoved)
		require.NoError(w, l.Close())

		l = w.dial(transport.Hello{VM: "vm-1"}).(transport.Pusher)
		l.Push(func(bool) { due <- struct{}{} })
		take()
		require.NoError(w, l.Close())
		<-due
		_, err = l.Take(nil)
		require.ErrorIs(w, err, transport.ErrClosed)
	})
}

// Where a page does not hold all that is due, or a window is full, the link says when there is more.
func TestPushMore(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{Window: 200}, func(w *world) {
		for i := range 300 {
			w.send("vm-1", command.Options{ID: fmt.Sprint("c-", i)})
		}
		l := w.dial(transport.Hello{VM: "vm-1"}).(transport.Pusher)
		due := make(chan struct{}, 100)
		l.Push(func(bool) { due <- struct{}{} })
		<-due
		page, err := l.Take(nil)
		require.NoError(w, err)
		require.Len(w, page, 128)
		require.Len(w, due, 1)
		<-due
		page, err = l.Take(page)
		require.NoError(w, err)
		require.Len(w, page, 200, "what the window holds, behind what was there")
		require.Equal(w, "c-199", page[199].ID)
		require.Empty(w, due)
		w.ack(l, "c-0", ack.Succeeded)
		require.Len(w, due, 1)
		page, err = l.Take(nil)
		require.NoError(w, err)
		require.Equal(w, []string{"c-200"}, ids(page))
		require.NoError(w, l.Close())
	})
}
