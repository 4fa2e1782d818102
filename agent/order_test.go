package agent_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// late is a link on which acks for which held says so take a minute to arrive, and others overtake them.
type late struct {
	transport.Link
	held func(ack.Ack) bool

	mu    sync.Mutex
	calls [][]ack.Ack
}

func (l *late) Ack(ctx context.Context, acks ...ack.Ack) error {
	l.mu.Lock()
	l.calls = append(l.calls, acks)
	l.mu.Unlock()
	for _, a := range acks {
		if l.held(a) {
			time.Sleep(time.Minute)
			break
		}
	}
	return l.Link.Ack(ctx, acks...)
}

// What is said of a command is recorded in the order in which it was said, however long each word takes.
func TestWordsDoNotOvertakeEachOther(t *testing.T) {
	inWorld(t, func(w *world) {
		w.wrap = func(l transport.Link) transport.Link {
			return &late{Link: l, held: func(a ack.Ack) bool { return a.Reason == "first" || a.Stage == ack.Deferred }}
		}
		a := w.agent(agent.Options{})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
			for _, step := range []string{"first", "second", "third"} {
				if err := job.Progress(step, step); err != nil {
					return nil, err
				}
				time.Sleep(time.Second)
			}
			time.Sleep(2 * time.Minute)
			return nil, nil
		}, agent.Policy{})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Shutdown) (any, error) {
			if job.Attempt() == 1 {
				return nil, agent.RetryLater(time.Second, "not now")
			}
			time.Sleep(2 * time.Minute)
			return nil, nil
		}, agent.Policy{})
		stop := run(w.T, a)

		r := w.send(command.Drain{}, command.Options{})
		time.Sleep(90 * time.Second) // also past the times when what is held is said again
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, ack.Progress, e.State.Stage)
		require.Equal(w, "third", e.Reason)
		require.Equal(w, `"third"`, string(e.Result))
		w.settled(r, ack.Succeeded, "")

		r = w.send(command.Shutdown{}, command.Options{})
		time.Sleep(90 * time.Second)
		e, err = w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, ack.Started, e.State.Stage)
		w.settled(r, ack.Succeeded, "")
		require.NoError(w, stop())
	})
}

// The end of a command waits for no earlier word of it: nothing undoes an end.
func TestEndOvertakes(t *testing.T) {
	inWorld(t, func(w *world) {
		w.wrap = func(l transport.Link) transport.Link {
			return &late{Link: l, held: func(a ack.Ack) bool { return !a.Stage.Final() }}
		}
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		began := time.Now()
		w.settled(w.send(key("a", "1s"), command.Options{}), ack.Succeeded, "")
		require.Equal(w, time.Second, time.Since(began))
		require.NoError(w, stop())
	})
}

// A report of progress that waits for its turn is not lost to a repetition of what is held.
func TestRepetitionKeepsProgress(t *testing.T) {
	inWorld(t, func(w *world) {
		links := 0
		w.wrap = func(l transport.Link) transport.Link {
			if links++; links == 1 {
				return &late{Link: l, held: func(ack.Ack) bool { return true }}
			}
			return l
		}
		a := w.agent(agent.Options{})
		agent.Handle(a, func(ctx context.Context, job *agent.Job, _ command.Drain) (any, error) {
			time.Sleep(time.Second)
			err := job.Progress("half way", nil)
			<-ctx.Done()
			return nil, err
		}, agent.Policy{})
		stop := run(w.T, a)
		r := w.send(command.Drain{}, command.Options{})
		reached := func(e *controller.Receipt) string {
			synctest.Wait()
			got, err := w.c.Get(w.Context(), e.ID())
			require.NoError(w, err)
			return got.Reason
		}
		time.Sleep(50 * time.Second)
		require.Empty(w, reached(r))
		time.Sleep(3 * time.Minute)
		require.Equal(w, "half way", reached(r))
		require.NoError(w, stop())
	})
}
