package agent_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Two agents with one instance do not replace each other for ever: the one that is replaced takes another name, which
// shuts the other out.
func TestOneInstanceTwice(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{Instance: "one"}
		first := w.agent(o)
		w.config(first, agent.Policy{Confirm: true})
		stop := run(w.T, first)
		w.settled(w.send(key("1", ""), command.Options{}), ack.Succeeded, "")
		second := w.agent(o)
		w.config(second, agent.Policy{Confirm: true})
		require.ErrorIs(w, second.Run(w.Context()), transport.ErrSuperseded)
		require.Equal(w, "one", second.Instance())
		require.NotEqual(w, "one", first.Instance())
		w.settled(w.send(key("2", ""), command.Options{}), ack.Succeeded, "")
		require.NoError(w, stop())
		p, _ := w.c.Presence("vm-1")
		require.Equal(w, []string{"one"}, p.Fenced)
		require.Equal(w, first.Instance(), p.Instance)
	})
}

// Once a link may be replaced by a dial that was given up and arrived late. Twice within a minute it is another process.
func TestReplacedOnce(t *testing.T) {
	t.Parallel()
	for lives, names := range map[time.Duration]bool{time.Second: true, 2 * time.Minute: false} {
		synctest.Test(t, func(t *testing.T) {
			var hellos []string
			a, err := agent.New(dialFunc(func(_ context.Context, h transport.Hello) (transport.Link, error) {
				hellos = append(hellos, h.Instance)
				return replacedLink{&manual{done: make(chan struct{})}, lives}, nil
			}), agent.Options{VM: "vm-1", Instance: "one", BackoffMax: time.Second})
			require.NoError(t, err)
			stop := run(t, a)
			time.Sleep(10 * time.Minute)
			require.NoError(t, stop())
			require.Equal(t, []string{"one", "one"}, hellos[:2])
			if !names {
				require.Equal(t, "one", hellos[len(hellos)-1])
				return
			}
			require.NotEqual(t, "one", hellos[2])
			require.Equal(t, hellos[2], hellos[3], "the new name has its own chance")
			require.NotEqual(t, hellos[3], hellos[4])
		})
	}
}

// replacedLink ends after a while, since another link of the same instance was opened.
type replacedLink struct {
	*manual
	lives time.Duration
}

func (l replacedLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	select {
	case <-time.After(l.lives):
		return nil, transport.ErrReplaced
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// What an agent does that may not start a command, since another has started it, is what it would do after a crash.
func TestStartedElsewhere(t *testing.T) {
	inWorld(t, func(w *world) {
		for policy, want := range map[agent.AfterCrash]ack.Stage{agent.Interrupted: ack.Interrupted, agent.Completed: ack.Succeeded, agent.RunAgain: ack.Succeeded} {
			w.ran = nil
			a := w.agent(agent.Options{})
			a.HandleRaw("first", func(context.Context, *agent.Job) (any, error) { time.Sleep(time.Minute); return nil, nil }, agent.Policy{})
			w.config(a, agent.Policy{Confirm: true, AfterCrash: policy})
			stop := run(w.T, a)
			synctest.Wait()
			first, err := command.NewRaw("first", nil, command.Options{})
			require.NoError(w, err)
			_, err = w.c.Send(w.Context(), "vm-1", first)
			require.NoError(w, err)
			r := w.send(key("1", ""), command.Options{})
			time.Sleep(time.Second) // it waits for its turn
			_, err = w.ledger.Update(w.Context(), "vm-1", ledger.Edit{ID: r.ID(), Do: func(e *ledger.Entry) error {
				return e.Acked(ack.Ack{Stage: ack.Started}, ledger.Speaker{Instance: "other"}, time.Now())
			}})
			require.NoError(w, err)
			e := w.settled(r, want, "")
			ran := ""
			if policy == agent.RunAgain {
				ran = "1"
				require.Equal(w, a.Instance(), e.Instance)
			} else {
				require.Equal(w, "other", e.Instance)
			}
			require.Equal(w, ran, w.sofar())
			require.NoError(w, stop())
		}
	})
}

// A machine is cloned while a command waits there, and starts it without asking. The clone, which cannot tell what became of it
// and asks, is told that another run has begun, although both have one instance.
func TestClonedWhileItWaited(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{Instance: "one", Journal: w.TempDir()}
		a := w.agent(o)
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.send(key("first", "10s"), command.Options{})
		r := w.send(key("second", "1m"), command.Options{})
		time.Sleep(time.Second)
		cloned := agent.Options{Instance: "one", Journal: w.TempDir()}
		b, err := os.ReadFile(filepath.Join(o.Journal, "journal"))
		require.NoError(w, err)
		require.NoError(w, os.WriteFile(filepath.Join(cloned.Journal, "journal"), b, 0o600))
		time.Sleep(11 * time.Second)
		require.Equal(w, "first second", w.sofar())
		clone := w.agent(cloned)
		w.config(clone, agent.Policy{})
		stopClone := run(w.T, clone)
		w.settled(r, ack.Interrupted, "another run has begun, of instance one")
		_, _ = stop(), stopClone() // one of them was told to stop
		require.Equal(w, "first second", strings.TrimSuffix(w.sofar(), " second-stopped"))
	})
}
