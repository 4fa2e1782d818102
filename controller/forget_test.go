package controller_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// listed are the names of the VMs that Fleet returns.
func (w *world) listed() []string {
	w.Helper()
	fleet, err := w.c.Fleet(w.Context())
	require.NoError(w, err)
	names := []string{}
	for _, p := range fleet {
		names = append(names, p.VM)
	}
	return names
}

// ended requires that a command has a verdict of the controller.
func (w *world) ended(id string, stage ack.Stage, code ack.Code) ledger.Entry {
	w.Helper()
	e, err := w.c.Get(w.Context(), id)
	require.NoError(w, err)
	require.Equal(w, stage, e.State.Stage, "%s: %s", id, e.Reason)
	require.Equal(w, code, e.Code)
	require.True(w, e.State.Verdict)
	last := e.History[len(e.History)-1]
	require.Equal(w, code, last.Code)
	require.Equal(w, e.Reason, last.Reason)
	return e
}

// waits returns what Wait does.
func (w *world) waits(r *controller.Receipt) <-chan ledger.Entry {
	done := make(chan ledger.Entry, 1)
	go func() {
		if e, err := r.Wait(context.Background()); err == nil {
			done <- e
		}
	}()
	return done
}

func TestForget(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a"))
		var all []*controller.Receipt
		for range 5 {
			all = append(all, w.send("vm-1", command.Options{}))
		}
		w.receive(link, 5)
		running, progress, deferred, succeeded, delivered := all[0], all[1], all[2], all[3], all[4]
		w.ack(link, running.ID(), ack.Started)
		w.ack(link, progress.ID(), ack.Started)
		w.ack(link, progress.ID(), ack.Progress)
		require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: deferred.ID(), Stage: ack.Deferred, RetryAfter: 3600}))
		w.ack(link, succeeded.ID(), ack.Succeeded)
		queued := w.send("vm-1", command.Options{}) // it keeps its place behind what is deferred
		other := w.send("vm-2", command.Options{})

		_, err := w.c.Forget(w.Context(), "vm-1", false)
		require.ErrorIs(w, err, transport.ErrInvalid)
		require.ErrorContains(w, err, "vm-1 is attached: stop its agent first, or forget it by force")
		require.Equal(w, ack.Started, w.stage(running.ID()), "nothing was done")

		waiting := w.waits(running)
		_, err = w.c.Cancel(w.Context(), progress.ID(), "") // which the agent never answers
		require.NoError(w, err)
		notices := w.c.Watch(w.Context())
		ended, err := w.c.Forget(w.Context(), "vm-1", true)
		require.NoError(w, err)
		require.Len(w, ended, 6, "with the cancel command")
		_, err = link.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrRevoked)

		w.ended(running.ID(), ack.Interrupted, ledger.CodeVMGone)
		w.ended(progress.ID(), ack.Interrupted, ledger.CodeVMGone)
		w.ended(delivered.ID(), ack.Dead, ledger.CodeVMGone)
		w.ended(queued.ID(), ack.Dead, ledger.CodeVMGone)
		w.ended(deferred.ID(), ack.Dead, ledger.CodeVMGone)
		require.Equal(w, ack.Succeeded, w.stage(succeeded.ID()))
		require.Equal(w, ack.Queued, w.stage(other.ID()), "of another VM")
		require.Equal(w, ack.Interrupted, (<-waiting).State.Stage)
		require.Equal(w, controller.NoticeOffline, (<-notices).Kind, "at once, and not when a lease runs out")
		require.Equal(w, []string{"vm-2"}, w.listed())
		_, known := w.c.Presence("vm-1")
		require.False(w, known)

		// What is left of the link changes nothing for whoever has the name next.
		require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: running.ID(), Stage: ack.Succeeded}))
		require.Equal(w, ack.Succeeded, w.stage(running.ID()), "what happened is what happened")
		require.NoError(w, link.Close())
		time.Sleep(time.Hour)
		require.Equal(w, []string{"vm-2"}, w.listed())
		_, known = w.c.Presence("vm-1")
		require.False(w, known)
		for len(notices) > 0 {
			require.Equal(w, controller.NoticeCommand, (<-notices).Kind)
		}

		ended, err = w.c.Forget(w.Context(), "vm-1", false)
		require.NoError(w, err, "it may be said again")
		require.Empty(w, ended)
		_, err = w.c.Forget(w.Context(), "vm-3", true)
		require.ErrorIs(w, err, transport.ErrUnknownCommand)
		_, err = w.c.Forget(w.Context(), "", true)
		require.ErrorIs(w, err, transport.ErrUnknownCommand)
	})
}

// A VM that was forgotten is like one that comes for the first time, but that a cursor of before covers nothing of now.
func TestForgottenVMComesBack(t *testing.T) {
	for _, pruned := range []bool{false, true} {
		t.Run(fmt.Sprint("pruned ", pruned), func(t *testing.T) {
			run(t, controller.Options{Retention: 24 * time.Hour}, func(w *world) {
				link := w.dial(hello("a"))
				var last transport.Delivery
				for range 20 {
					w.send("vm-1", command.Options{})
					last = w.receive(link, 1)[0]
					w.ack(link, last.ID, ack.Succeeded)
				}
				_, err := w.c.Forget(w.Context(), "vm-1", true)
				require.NoError(w, err)
				require.NoError(w, link.Close())
				require.Empty(w, w.listed())
				if pruned {
					time.Sleep(72 * time.Hour)
					_, err = w.c.Get(w.Context(), last.ID)
					require.ErrorIs(w, err, transport.ErrUnknownCommand)
				}
				r := w.send("vm-1", command.Options{})
				require.Equal(w, []string{"vm-1"}, w.listed(), "it is sent something")
				urgent := w.send("vm-1", command.Options{Urgent: true})
				for _, instance := range []string{"a", "b"} {
					h := hello(instance)
					h.After = last.Cursor
					back := w.dial(h)
					require.Equal(w, []string{urgent.ID(), r.ID()}, ids(w.receive(back, 2)))
					require.NoError(w, back.Close())
				}
				p, known := w.c.Presence("vm-1")
				require.True(w, known)
				require.Equal(w, "b", p.Instance)
			})
		})
	}
}

// A link for acks and events is one, too, and ends likewise.
func TestForgetOfAnUplink(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		up := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		_, err := w.c.Forget(w.Context(), "vm-1", false)
		require.ErrorIs(w, err, transport.ErrInvalid)
		_, err = w.c.Forget(w.Context(), "vm-1", true)
		require.NoError(w, err)
		_, err = up.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrRevoked)
		require.NoError(w, up.Close())
		require.Empty(w, w.listed())
	})
}

// However dials and forgetting meet, whoever has a link that lives gets what is sent.
func TestForgetBesideDials(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{Access: controller.Unlimited()})
	defer c.Close()
	forgetting, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		for forgetting.Err() == nil {
			if _, err := c.Forget(t.Context(), "vm-1", true); err != nil && !errors.Is(err, transport.ErrUnknownCommand) {
				t.Error(err)
			}
		}
	})
	got := 0
	for i := range 500 {
		link, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: fmt.Sprint(i)})
		if err != nil {
			require.ErrorIs(t, err, transport.ErrRevoked)
			continue
		}
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		for {
			page, err := link.Receive(t.Context()) // hangs where the link is of nobody
			if err != nil {
				require.ErrorIs(t, err, transport.ErrRevoked)
				break
			}
			got += len(page)
		}
		require.NoError(t, link.Close())
	}
	stop()
	wg.Wait()
	t.Log("commands that came before the link was ended:", got)
	link, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "last"})
	require.NoError(t, err)
	cmd, err := command.New(command.Drain{}, command.Options{ID: "last"})
	require.NoError(t, err)
	_, err = c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	for last := ""; last != "last"; {
		page, err := link.Receive(t.Context())
		require.NoError(t, err)
		last = page[len(page)-1].ID
	}
	require.NoError(t, link.Close())
}
