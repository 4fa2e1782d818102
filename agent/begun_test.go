package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
)

// What had begun in a process that is gone, and waits until it may run again, did begin: a newer command does not supersede it.
func TestBegunIsNotSuperseded(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{Journal: w.TempDir(), StopGrace: time.Second}
		drain := func(context.Context, *agent.Job, command.Drain) (any, error) {
			return nil, agent.RetryLater(time.Hour, "busy")
		}
		start := func() (stop func() error) {
			a := w.agent(o)
			w.config(a, agent.Policy{AfterCrash: agent.RunAgain, Exclusive: true})
			agent.Handle(a, drain, agent.Policy{AfterCrash: agent.RunAgain, Concurrent: true})
			return run(w.T, a)
		}
		stop := start()
		w.send(command.Drain{}, urgent)
		time.Sleep(time.Second)
		old := w.send(key("old", "1m"), command.Options{SupersedeKey: "key"})
		time.Sleep(time.Second)
		require.NoError(w, stop())
		require.Equal(w, "old old-stopped", w.sofar())

		drain = func(context.Context, *agent.Job, command.Drain) (any, error) {
			time.Sleep(time.Minute) // old waits for it
			return nil, nil
		}
		stop = start()
		time.Sleep(time.Second)
		newer := w.send(key("newer", ""), command.Options{SupersedeKey: "key"})
		w.settled(newer, ack.Succeeded, "")
		w.settled(old, ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "old old-stopped old newer", w.sofar())
	})
}

// Where the end of a command could not be journalled the next process asks before it runs it again, also one that is safe to
// repeat.
func TestEndThatWasLost(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{VM: "vm-1", Journal: w.TempDir(), StopGrace: time.Second}
		a := w.agent(o)
		w.config(a, agent.Policy{AfterCrash: agent.RunAgain})
		stop := run(w.T, a)
		r := w.send(key("begun", "1h"), command.Options{})
		time.Sleep(time.Second)
		require.NoError(w, stop())
		_, err := w.c.Settle(w.Context(), r.ID(), ack.Canceled, "not needed")
		require.NoError(w, err)
		back := time.Now().Add(time.Minute)
		a, err = agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			if time.Now().Before(back) {
				return nil, errors.New("the network is down")
			}
			return w.Dial(ctx, h)
		}), o)
		require.NoError(w, err)
		w.config(a, agent.Policy{AfterCrash: agent.RunAgain})
		stop = run(w.T, a)
		time.Sleep(2 * time.Hour)
		require.NoError(w, stop())
		require.Equal(w, "begun begun-stopped", w.sofar())
	})
}
