package controller_test

import (
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// cancelKey is the idempotency key of the cancel of a command.
func cancelKey(id string) string {
	return "cancel:" + uuid.NewSHA1(uuid.NameSpaceOID, []byte(id)).String()
}

// Keys of the controller's own commands are nobody else's.
func TestReservedKeys(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		for _, key := range []string{cancelKey("c-1"), "cancel:", "cancel:x", "miglink:x"} {
			cmd, err := command.New(config("k"), command.Options{IdempotencyKey: key})
			require.NoError(w, err)
			_, err = w.c.Send(w.Context(), "vm-1", cmd)
			require.ErrorIs(w, err, transport.ErrInvalid)
			require.ErrorContains(w, err, "idempotency_key")
			_, err = w.c.Broadcast(w.Context(), []string{"vm-1"}, cmd)
			require.ErrorIs(w, err, transport.ErrInvalid)
		}
		for _, key := range []string{"cancel", "Cancel:x", "my-cancel:x"} {
			w.send("vm-1", command.Options{IdempotencyKey: key})
		}
	})
}

// In a ledger from before the keys were reserved a cancel's key may be another command's: the cancel is sent all the
// same, and once.
func TestCancelWhoseKeyIsTaken(t *testing.T) {
	t.Parallel()
	cancelOf := func(id string) command.Params { return command.Cancel{CommandID: id} }
	for name, squatter := range map[string]struct {
		p      command.Params
		urgent bool
		stage  ack.Stage // that the controller has concluded; empty: it waits
	}{
		"another type":       {config("k"), true, ""},
		"of another command": {cancelOf("elsewhere"), true, ""},
		"not urgent":         {cancelOf("c-1"), false, ""},
		"given up":           {cancelOf("c-1"), true, ack.Dead},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := memory.New()
				id := ""
				for _, key := range []string{cancelKey("c-1"), cancelKey("c-1") + ":1"} {
					cmd, err := command.New(squatter.p, command.Options{IdempotencyKey: key, Urgent: squatter.urgent})
					require.NoError(t, err)
					_, err = l.Append(t.Context(), "vm-1", cmd, ledger.Limits{}, time.Now())
					require.NoError(t, err)
					id = cmd.ID
					if squatter.stage != "" {
						_, err = l.Update(t.Context(), "vm-1", ledger.Edit{ID: cmd.ID, Do: func(e *ledger.Entry) error {
							e.Conclude(squatter.stage, "", "", time.Now())
							return nil
						}})
						require.NoError(t, err)
					}
				}
				c := controller.New(l, controller.Options{})
				defer c.Close()
				cmd, err := command.New(config("k"), command.Options{ID: "c-1"})
				require.NoError(t, err)
				_, err = c.Send(t.Context(), "vm-1", cmd)
				require.NoError(t, err)
				link, err := c.Dial(t.Context(), hello("a"))
				require.NoError(t, err)
				defer link.Close()
				require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Started, Attempt: 1}))
				for range 3 { // asking again sends no more of them
					e, err := c.Cancel(t.Context(), "c-1", "")
					require.NoError(t, err)
					require.NotNil(t, e.Cancel)
				}
				list, err := c.List(t.Context(), "vm-1", 0, 100)
				require.NoError(t, err)
				require.Len(t, list, 4)
				require.NotEqual(t, id, list[0].Command.ID)
				require.Equal(t, command.TypeCancel, list[0].Command.Type)
				require.True(t, list[0].Command.Urgent)
				p, err := command.Decode[command.Cancel](*list[0].Command)
				require.NoError(t, err)
				require.Equal(t, "c-1", p.CommandID)
			})
		})
	}
}

// A cancel that the agent has answered is not sent again, although the command goes on.
func TestCancelThatIsAnswered(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		link := w.dial(hello("a"))
		w.receive(link, 1)
		w.ack(link, r.ID(), ack.Started)
		_, err := w.c.Cancel(w.Context(), r.ID(), "")
		require.NoError(w, err)
		w.ack(link, w.receive(link, 1)[0].ID, ack.Failed)
		w.ack(link, r.ID(), ack.Progress)
		_, err = w.c.Cancel(w.Context(), r.ID(), "again")
		require.NoError(w, err)
		w.quiet(link, time.Second)
		list, err := w.c.List(w.Context(), "vm-1", 0, 10)
		require.NoError(w, err)
		require.Len(w, list, 2)
	})
}

// However many keys are taken, a cancel is sent: in the end without one, and then within the limits of the queue.
func TestCancelWhoseKeysAreAllTaken(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := memory.New()
		add := func(o command.Options) {
			cmd, err := command.New(config("k"), o)
			require.NoError(t, err)
			_, err = l.Append(t.Context(), "vm-1", cmd, ledger.Limits{}, time.Now())
			require.NoError(t, err)
		}
		add(command.Options{ID: "c-1"})
		add(command.Options{IdempotencyKey: cancelKey("c-1")})
		for i := 1; i < 20; i++ {
			add(command.Options{IdempotencyKey: fmt.Sprint(cancelKey("c-1"), ":", i)})
		}
		c := controller.New(l, controller.Options{Limits: ledger.Limits{Commands: 23}})
		defer c.Close()
		link, err := c.Dial(t.Context(), hello("a"))
		require.NoError(t, err)
		defer link.Close()
		require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: "c-1", Stage: ack.Started, Attempt: 1}))
		for range 2 {
			_, err = c.Cancel(t.Context(), "c-1", "")
			require.NoError(t, err)
		}
		_, err = c.Cancel(t.Context(), "c-1", "")
		require.ErrorIs(t, err, transport.ErrQueueFull)
		list, err := c.List(t.Context(), "vm-1", 0, 2)
		require.NoError(t, err)
		for _, e := range list {
			require.Equal(t, command.TypeCancel, e.Command.Type)
		}
	})
}

// What a guard says no to is not stored, and its error comes back as it is.
func TestGuard(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		errNo := errors.New("no")
		no := func(*ledger.Entry) error { return errNo }
		yes := func(*ledger.Entry) error { return nil }
		first := w.send("vm-1", command.Options{SupersedeKey: "k", IdempotencyKey: "i"})
		cmd, err := command.New(config("k"), command.Options{SupersedeKey: "k"})
		require.NoError(w, err)
		_, err = w.c.SendGuarded(w.Context(), "vm-1", cmd, controller.Guard{MayEnd: no})
		require.Equal(w, errNo, err)
		require.Equal(w, ack.Queued, w.stage(first.ID()))
		_, err = w.c.Get(w.Context(), cmd.ID)
		require.ErrorIs(w, err, transport.ErrUnknownCommand)
		r, err := w.c.SendGuarded(w.Context(), "vm-1", cmd, controller.Guard{MayEnd: yes, MayKnow: no})
		require.NoError(w, err)
		require.Equal(w, []string{first.ID()}, r.Superseded())
		for _, o := range []command.Options{{ID: cmd.ID}, {IdempotencyKey: "i"}} {
			again, err := command.New(config("k"), o)
			require.NoError(w, err)
			_, err = w.c.SendGuarded(w.Context(), "vm-1", again, controller.Guard{MayKnow: no})
			require.Equal(w, errNo, err)
			r, err := w.c.SendGuarded(w.Context(), "vm-1", again, controller.Guard{MayKnow: yes})
			require.NoError(w, err)
			require.False(w, r.Created())
			require.Empty(w, r.Superseded())
		}
	})
}
