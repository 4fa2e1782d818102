package controller_test

import (
	"bytes"
	"context"
	"log/slog"
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

var keyed = command.Options{IdempotencyKey: "job", TTL: time.Minute}

// retried sends under the key again and says whether that is another command.
func (w *world) retried() bool {
	w.Helper()
	return w.send("vm-1", keyed).Created()
}

// What expires while the VM has no link is sent anew by a retry, and what a link may have had is not.
func TestRetryAfterExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		between func(w *world, r *controller.Receipt)
		free    bool
	}{
		"the VM was never there":                  {func(*world, *controller.Receipt) {}, true},
		"the VM is gone, and its lease has ended": {nil, true},
		"the controller was started again": {func(w *world, _ *controller.Receipt) {
			w.restart(time.Second, controller.Options{})
		}, true},
		"a link for acks alone": {func(w *world, _ *controller.Receipt) {
			h := hello("a")
			h.Uplink = true
			require.NoError(w, w.dial(h).Close())
		}, true},
		"a link had it": {func(w *world, _ *controller.Receipt) {
			link := w.dial(hello("a"))
			w.receive(link, 1)
			require.NoError(w, link.Close())
		}, false},
		"a link had it, before the controller was started again": {func(w *world, _ *controller.Receipt) {
			link := w.dial(hello("a"))
			w.receive(link, 1)
			require.NoError(w, link.Close())
			w.restart(time.Second, controller.Options{})
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, controller.Options{}, func(w *world) {
				if c.between == nil {
					require.NoError(w, w.dial(hello("a")).Close())
					time.Sleep(time.Minute)
					c.between = func(*world, *controller.Receipt) {}
				}
				r := w.send("vm-1", keyed)
				c.between(w, r)
				require.False(w, w.retried(), "it waits")
				time.Sleep(time.Minute + time.Second)
				require.Equal(w, ack.Expired, w.stage(r.ID()))
				require.Equal(w, c.free, w.retried())
				require.False(w, w.retried(), "the one that was sent anew has the key")
			})
		})
	}
}

// A command that was sent while its VM had a link, or may have been between two, counts as handed out.
func TestRetryAfterExpiryOfALink(t *testing.T) {
	run(t, controller.Options{Window: 1}, func(w *world) {
		link := w.dial(hello("a"))
		w.send("vm-1", command.Options{})
		w.receive(link, 1)
		r := w.send("vm-1", keyed) // waits for room
		time.Sleep(time.Minute + time.Second)
		require.Equal(w, ack.Expired, w.stage(r.ID()))
		require.False(w, w.retried())
		require.NoError(w, link.Close())
	})
}

// What the agent says decides where a link had it.
func TestRetryAfterTheAgentsWord(t *testing.T) {
	for name, c := range map[string]struct {
		say  []ack.Ack
		free bool
	}{
		"expired":                   {[]ack.Ack{{Stage: ack.Expired}}, true},
		"rejected":                  {[]ack.Ack{{Stage: ack.Rejected}}, true},
		"rejected by a handler":     {[]ack.Ack{{Stage: ack.Rejected, Code: ack.CodeBegun}}, false},
		"expired after a deferral":  {[]ack.Ack{{Stage: ack.Deferred}, {Stage: ack.Expired}}, false},
		"failed":                    {[]ack.Ack{{Stage: ack.Failed}}, false},
		"first received, then gone": {[]ack.Ack{{Stage: ack.Received}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, controller.Options{}, func(w *world) {
				link := w.dial(hello("a"))
				r := w.send("vm-1", keyed)
				w.receive(link, 1)
				for _, a := range c.say {
					a.CommandID = r.ID()
					require.NoError(w, link.Ack(w.Context(), a))
				}
				if a := c.say[len(c.say)-1]; !a.Stage.Final() {
					_, err := w.c.Forget(w.Context(), "vm-1", true)
					require.NoError(w, err)
				}
				require.Equal(w, c.free, w.retried())
				require.NoError(w, link.Close())
			})
		})
	}
}

// What somebody has decided a repeated send does not undo.
func TestRetryOfWhatIsNotToBe(t *testing.T) {
	for name, decide := range map[string]func(w *world, id string) error{
		"cancelled": func(w *world, id string) error {
			_, err := w.c.Cancel(w.Context(), id, "")
			return err
		},
		"settled by hand": func(w *world, id string) error {
			_, err := w.c.Settle(w.Context(), id, "", "")
			return err
		},
		"superseded": func(w *world, _ string) error {
			cmd, err := command.New(config("newer"), command.Options{SupersedeKey: "s"})
			require.NoError(w, err)
			_, err = w.c.Send(w.Context(), "vm-1", cmd)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, controller.Options{}, func(w *world) {
				o := keyed
				o.SupersedeKey = "s"
				r := w.send("vm-1", o)
				require.NoError(w, decide(w, r.ID()))
				require.False(w, w.retried())
			})
		})
	}
	run(t, controller.Options{}, func(w *world) {
		w.send("vm-1", keyed)
		_, err := w.c.Forget(w.Context(), "vm-1", false)
		require.NoError(w, err)
		require.True(w, w.retried(), "of a VM that was forgotten nobody has decided anything about the command")
	})
}

// concludes is a ledger in which something ends between the look for what is due and what follows.
type concludes struct {
	*memory.Ledger
	id string
}

func (l *concludes) Pending(ctx context.Context, vm string, lane ledger.Lane, after uint64, limit int) ([]*ledger.Entry, error) {
	found, err := l.Ledger.Pending(ctx, vm, lane, after, limit)
	if id := l.id; err == nil && id != "" && len(found) > 0 {
		l.id = ""
		_, err = l.Update(ctx, vm, ledger.Edit{ID: id, Do: func(e *ledger.Entry) error {
			e.Conclude(ack.Expired, "", "", time.Now())
			return nil
		}})
	}
	return found, err
}

// What a verdict has ended since a page was collected is not handed out: its key is free.
func TestAVerdictBeforeTheHandOut(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		require.NoError(w, w.c.Close())
		l := &concludes{Ledger: w.l.(*memory.Ledger)}
		w.c = controller.New(l, controller.Options{})
		first, second := w.send("vm-1", keyed), w.send("vm-1", command.Options{})
		l.id = first.ID()
		link := w.dial(hello("a"))
		require.Equal(w, second.ID(), w.receive(link, 1)[0].ID)
		require.Equal(w, ack.Expired, w.stage(first.ID()))
		retry := w.send("vm-1", keyed)
		require.True(w, retry.Created())
		require.Equal(w, retry.ID(), w.receive(link, 1)[0].ID)
		w.quiet(link, time.Second)
		require.NoError(w, link.Close())
	})
}

// Where it cannot be recorded that a command is handed out, it is not.
func TestAHandOutThatCannotBeRecorded(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		require.NoError(w, w.c.Close())
		l := &fullDisk{Ledger: w.l}
		w.c = controller.New(l, controller.Options{})
		r := w.send("vm-1", keyed)
		link := w.dial(hello("a"))
		l.full.Store(true)
		_, err := link.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrInternal)
		require.NoError(w, link.Close())
		l.full.Store(false)
		link = w.dial(hello("a"))
		require.Equal(w, r.ID(), w.receive(link, 1)[0].ID)
		require.NoError(w, link.Close())
	})
}

// An agent that says that a command has run whose key is free breaks the protocol, or is one of two: that is told.
func TestAWordAgainstAKeyThatIsFree(t *testing.T) {
	var log bytes.Buffer
	run(t, controller.Options{Log: slog.New(slog.NewTextHandler(&log, nil))}, func(w *world) {
		link := w.dial(hello("a"))
		r := w.send("vm-1", keyed)
		w.receive(link, 1)
		w.ack(link, r.ID(), ack.Rejected)
		w.ack(link, r.ID(), ack.Rejected)
		require.NotContains(w, log.String(), "another may run")
		w.ack(link, r.ID(), ack.Succeeded)
		require.Contains(w, log.String(), "another may run under its idempotency key")
		require.Contains(w, log.String(), r.ID())
		require.Equal(w, ack.Rejected, w.stage(r.ID()), "the first end stays")
		require.NoError(w, link.Close())
	})
}

// A VM that polls has no link between two polls, and may have any command: with its lease it counts as linked.
func TestRetryAfterExpiryBetweenTwoPolls(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		require.NoError(w, w.dial(hello("a")).Close())
		r := w.send("vm-1", keyed)
		time.Sleep(time.Minute + time.Second)
		require.Equal(w, ack.Expired, w.stage(r.ID()))
		require.False(w, w.retried())
	})
}
