package agent_test

import (
	"context"
	"errors"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger"
)

// timedOut waits for a command to have failed since its run has lasted too long.
func (w *world) timedOut(r *controller.Receipt, reason string) ledger.Entry {
	w.Helper()
	e := w.settled(r, ack.Failed, reason)
	require.Equal(w, ack.CodeRunTimeout, e.Code)
	require.Equal(w, ack.CodeRunTimeout, e.History[len(e.History)-1].Code)
	require.False(w, e.State.Verdict)
	return e
}

// A run may last as long as its type and its command allow, counted from when it begins, also from a deferral on.
func TestRunTimeout(t *testing.T) {
	const minute = time.Minute
	for name, test := range map[string]struct{ ofType, own, want time.Duration }{
		"by type":                {minute, 0, minute},
		"by command":             {0, minute, minute},
		"the command has less":   {time.Hour, minute, minute},
		"the command has more":   {minute, time.Hour, minute},
		"as short as can be":     {0, command.MinRunTimeout, command.MinRunTimeout},
		"none, and it goes on":   {0, 0, 0},
		"long, and it is sooner": {command.MaxRunTimeout, command.MaxRunTimeout, 0},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.agent(agent.Options{RunGrace: 5 * time.Second})
				w.defersOnce(a, agent.Policy{RunTimeout: test.ofType})
				w.config(a, agent.Policy{})
				stop := run(w.T, a)
				began := time.Now()
				r := w.send(command.Drain{}, command.Options{RunTimeout: test.own})
				behind := w.send(key("behind", ""), command.Options{})
				if test.want == 0 {
					w.settled(r, ack.Succeeded, "")
					require.NoError(w, stop())
					return
				}
				time.Sleep(deferredFor + test.want/2)
				e, err := w.c.Get(w.Context(), r.ID())
				require.NoError(w, err)
				require.Equal(w, ack.Started, e.State.Stage)
				require.Equal(w, test.want+5*time.Second, e.RunEnds.Sub(e.UpdatedAt))
				w.timedOut(r, "the run was to end after "+test.want.String()+": the run has lasted as long as it may")
				require.Equal(w, deferredFor+test.want, time.Since(began).Truncate(time.Second))
				w.settled(behind, ack.Succeeded, "")
				require.Zero(w, w.abandonedRuns())
				require.NoError(w, stop())
			})
		})
	}
}

const deferredFor = 10 * time.Minute

// defersOnce has a drain ask for another time at first, and then take half an hour, or as long as its context.
func (w *world) defersOnce(a *agent.Agent, p agent.Policy) {
	agent.Handle(a, func(ctx context.Context, job *agent.Job, _ command.Drain) (any, error) {
		if job.Attempt() == 1 {
			return nil, agent.RetryLater(deferredFor, "not yet")
		}
		select {
		case <-time.After(30 * time.Minute):
			return nil, nil
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}, p)
}

func (w *world) abandonedRuns() int {
	w.Helper()
	synctest.Wait()
	p, _ := w.c.Presence("vm-1")
	return p.Abandoned
}

// A handler that does not heed its context is abandoned. Others run, exclusive ones, too, and what it comes to counts.
func TestAbandonedRun(t *testing.T) {
	const hangs = 2 * time.Hour
	for name, test := range map[string]struct {
		policy  agent.Policy
		options command.Options
		returns func() (any, error)
		want    ack.Stage
		code    ack.Code
	}{
		"in the normal lane":    {agent.Policy{}, command.Options{}, func() (any, error) { return 7, nil }, ack.Succeeded, ""},
		"urgent":                {agent.Policy{}, urgent, func() (any, error) { return 7, nil }, ack.Succeeded, ""},
		"concurrent":            {agent.Policy{Concurrent: true}, command.Options{}, func() (any, error) { return 7, nil }, ack.Succeeded, ""},
		"exclusive":             {agent.Policy{Exclusive: true}, command.Options{}, func() (any, error) { return 7, nil }, ack.Succeeded, ""},
		"confirmed":             {agent.Policy{Confirm: true}, command.Options{}, func() (any, error) { return 7, nil }, ack.Succeeded, ""},
		"that fails":            {agent.Policy{}, command.Options{}, func() (any, error) { return nil, errors.New("late") }, ack.Failed, ack.CodeRunTimeout},
		"that panics":           {agent.Policy{Concurrent: true}, command.Options{}, func() (any, error) { panic("late") }, ack.Failed, ack.CodePanic},
		"that ends its routine": {agent.Policy{}, command.Options{}, func() (any, error) { runtime.Goexit(); return nil, nil }, ack.Failed, ack.CodeRunTimeout},
		"that wants more time":  {agent.Policy{}, command.Options{}, func() (any, error) { return nil, agent.RetryLater(1, "") }, ack.Failed, ack.CodeRunTimeout},
		"that rejects":          {agent.Policy{}, command.Options{}, func() (any, error) { return nil, agent.Reject("late") }, ack.Rejected, ack.CodeBegun},
	} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.agent(agent.Options{})
				policy := test.policy
				policy.RunTimeout = time.Minute
				agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
					job.Finally(func() { w.did("finally") })
					time.Sleep(hangs)
					_ = job.Progress("it says so", nil)
					return test.returns()
				}, policy)
				w.config(a, agent.Policy{})
				agent.Handle(a, func(context.Context, *agent.Job, command.SetLogLevel) (any, error) {
					w.did("alone")
					return nil, nil
				}, agent.Policy{Exclusive: true})
				stop := run(w.T, a)
				began := time.Now()
				hanging := w.send(command.Drain{}, test.options)
				synctest.Wait()
				behind := w.send(key("behind", ""), test.options)
				exclusive := w.send(command.SetLogLevel{Level: "debug"}, command.Options{})
				e := w.timedOut(hanging, "the run was to end after 1m0s, and its handler had not returned 10s later")
				require.True(w, e.State.Abandoned)
				require.Equal(w, 70*time.Second, time.Since(began).Truncate(time.Second))
				w.settled(behind, ack.Succeeded, "")
				w.settled(exclusive, ack.Succeeded, "")
				require.Less(w, time.Since(began), 75*time.Second)
				require.Equal(w, 1, w.abandonedRuns())
				require.ElementsMatch(w, []string{"behind", "alone"}, strings.Fields(w.sofar()))
				time.Sleep(hangs)
				synctest.Wait()
				e, err := w.c.Get(w.Context(), hanging.ID())
				require.NoError(w, err)
				require.Equal(w, test.want, e.State.Stage)
				require.Equal(w, test.code, e.Code)
				require.Zero(w, w.abandonedRuns())
				require.Equal(w, "finally", strings.Fields(w.sofar())[2])
				more := w.send(key("more", "1m"), urgent)
				synctest.Wait()
				began = time.Now()
				w.settled(w.send(command.SetLogLevel{Level: "debug"}, command.Options{}), ack.Succeeded, "")
				require.Equal(w, time.Minute, time.Since(began).Truncate(time.Second), "it ran alone")
				w.settled(more, ack.Succeeded, "")
				require.NoError(w, stop())
			})
		})
	}
}

// A run that is abandoned keeps nobody from stopping the agent, and what was said of it is recorded by then.
func TestStopBesideAnAbandonedRun(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{Journal: w.TempDir()})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			time.Sleep(time.Hour)
			return nil, nil
		}, agent.Policy{RunTimeout: time.Minute})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		r := w.send(command.Drain{}, command.Options{})
		time.Sleep(70 * time.Second)
		synctest.Wait()
		behind := w.send(key("behind", ""), command.Options{})
		began := time.Now()
		synctest.Wait()
		require.NoError(w, stop())
		require.Less(w, time.Since(began), time.Second)
		w.settled(behind, ack.Succeeded, "")
		w.timedOut(r, "")
		time.Sleep(time.Hour) // it returns to nobody
	})
}

// A handler that returns in the moment in which its run is abandoned has returned, whichever is first.
func TestReturnsWhenAbandoned(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{Window: 1000})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			time.Sleep(70 * time.Second)
			return nil, nil
		}, agent.Policy{RunTimeout: time.Minute, Concurrent: true})
		stop := run(w.T, a)
		var all []*controller.Receipt
		for range 60 {
			all = append(all, w.send(command.Drain{}, command.Options{}))
		}
		time.Sleep(2 * time.Minute)
		for _, r := range all {
			w.settled(r, ack.Succeeded, "")
		}
		require.Zero(w, w.abandonedRuns())
		require.NoError(w, stop())
	})
}

// What comes of an abandoned run while there is no controller is said by the next process, though the controller knew the
// end of before.
func TestLateResultOverARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		journal := w.TempDir()
		begin := func() (stop func() error) {
			a := w.agent(agent.Options{Journal: journal})
			agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
				_ = job.Progress("begun", nil)
				time.Sleep(time.Hour)
				return nil, nil
			}, agent.Policy{RunTimeout: time.Minute})
			return run(w.T, a)
		}
		stop := begin()
		r := w.send(command.Drain{}, command.Options{})
		synctest.Wait()
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, ack.Progress, e.State.Stage)
		require.Equal(w, 70*time.Second, e.RunEnds.Sub(e.UpdatedAt), "as it is said with progress, too")
		time.Sleep(2 * time.Minute)
		w.timedOut(r, "")
		w.c.Close()
		time.Sleep(time.Hour)
		require.NoError(w, stop())
		w.start()
		stop = begin()
		time.Sleep(time.Minute)
		w.settled(w.c.Receipt(r.ID()), ack.Succeeded, "")
		require.NoError(w, stop())
	})
}

// A controller that was started meanwhile is told of abandoned runs, too.
func TestAbandonedRunsAreToldAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			time.Sleep(time.Hour)
			return nil, nil
		}, agent.Policy{RunTimeout: time.Minute, Concurrent: true})
		notices := w.c.Watch(w.Context())
		stop := run(w.T, a)
		for range 2 {
			w.send(command.Drain{}, command.Options{})
			time.Sleep(time.Second)
		}
		time.Sleep(2 * time.Minute)
		require.Equal(w, 2, w.abandonedRuns())
		var told []string
		for len(notices) > 0 {
			if n := <-notices; n.Event != nil && n.Event.Type == event.RunsAbandoned {
				told = append(told, string(n.Event.Metadata))
			}
		}
		require.Equal(w, []string{`{"count":1}`, `{"count":2}`}, told, "each number once")
		w.c.Close()
		w.start()
		time.Sleep(time.Minute)
		require.Equal(w, 2, w.abandonedRuns())
		time.Sleep(time.Hour)
		require.Zero(w, w.abandonedRuns())
		require.NoError(w, stop())
	})
}

// A command that is cancelled and whose handler does not heed that is abandoned when its time is over, and then has been
// cancelled all the same.
func TestAbandonedWhenCancelled(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		agent.Handle(a, func(ctx context.Context, _ *agent.Job, _ command.Drain) (any, error) {
			time.Sleep(time.Hour)
			return nil, context.Cause(ctx)
		}, agent.Policy{RunTimeout: time.Minute})
		stop := run(w.T, a)
		r := w.send(command.Drain{}, command.Options{})
		time.Sleep(30 * time.Second)
		_, err := w.c.Cancel(w.Context(), r.ID(), "")
		require.NoError(w, err)
		time.Sleep(time.Minute)
		w.timedOut(r, "")
		time.Sleep(time.Hour)
		w.settled(r, ack.Canceled, "")
		require.NoError(w, stop())
	})
}

func TestBadRunTimeouts(t *testing.T) {
	t.Parallel()
	handle := func(d time.Duration) func() {
		return func() {
			w := &world{T: t}
			w.config(w.agent(agent.Options{}), agent.Policy{RunTimeout: d})
		}
	}
	require.NotPanics(t, handle(command.MaxRunTimeout))
	for _, d := range []time.Duration{-time.Second, time.Millisecond, command.MaxRunTimeout + time.Second} {
		require.PanicsWithValue(t, `agent: the policy of "update_config": run_timeout is `+d.String()+`, 1s to 168h0m0s are allowed, or 0 for no limit`, handle(d))
	}
	for _, d := range []time.Duration{-1, 25 * time.Hour} {
		_, err := agent.New(&world{T: t}, agent.Options{VM: "vm-1", RunGrace: d})
		require.ErrorContains(t, err, "RunGrace is "+d.String()+", 0 to 24h0m0s are allowed")
	}
}
