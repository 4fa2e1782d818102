package agent_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
)

var urgent = command.Options{Urgent: true}

// One at a time and in order; urgent ones likewise, but beside the others; concurrent ones at once.
func TestOrder(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		agent.Handle(a, func(context.Context, *agent.Job, command.SetLogLevel) (any, error) {
			w.did("beside")
			return nil, nil
		}, agent.Policy{Concurrent: true})
		stop := run(w.T, a)
		first := w.send(key("1", "1m"), command.Options{})
		synctest.Wait()
		w.send(key("2", "1s"), command.Options{})
		last := w.send(key("3", "1s"), command.Options{})
		synctest.Wait()
		w.send(key("urgent-1", "1s"), urgent)
		second := w.send(key("urgent-2", "1s"), urgent)
		synctest.Wait()
		w.settled(w.send(command.SetLogLevel{Level: "debug"}, command.Options{}), ack.Succeeded, "")
		require.Equal(w, "1 urgent-1 beside", w.sofar())
		w.settled(second, ack.Succeeded, "")
		require.Equal(w, "1 urgent-1 beside urgent-2", w.sofar())
		w.settled(first, ack.Succeeded, "")
		w.settled(last, ack.Succeeded, "")
		require.Equal(w, "1 urgent-1 beside urgent-2 2 3", w.sofar())
		require.NoError(w, stop())
	})
}

// defers has a drain ask for another time, a day later, the first time it is run.
func (w *world) defers(a *agent.Agent, p agent.Policy) {
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
		if job.Attempt() == 1 {
			w.did("deferred")
			return nil, agent.RetryLater(24*time.Hour, "not today")
		}
		w.did("drained")
		return nil, nil
	}, p)
}

// What is behind a deferred command waits, but for urgent ones, which wait for no deferral, be it of an urgent one.
func TestUrgentWaitsForNoDeferral(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.defers(a, agent.Policy{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		drain := w.send(command.Drain{}, command.Options{})
		behind := w.send(key("behind", ""), command.Options{})
		time.Sleep(time.Minute)
		began := time.Now()
		urgentDrain := w.send(command.Drain{}, urgent)
		w.settled(w.send(key("urgent", "1s"), urgent), ack.Succeeded, "")
		require.Equal(w, time.Second, time.Since(began))
		require.Equal(w, "deferred deferred urgent", w.sofar())
		time.Sleep(24*time.Hour - time.Minute)
		w.settled(drain, ack.Succeeded, "")
		w.settled(behind, ack.Succeeded, "")
		require.Equal(w, "deferred deferred urgent drained behind", w.sofar())
		w.settled(urgentDrain, ack.Succeeded, "")
		require.Equal(w, "deferred deferred urgent drained behind drained", w.sofar())
		require.NoError(w, stop())
	})
}

// A deferred command that is cancelled ends at once, and what was behind it runs.
func TestCancelDeferred(t *testing.T) {
	for name, o := range map[string]command.Options{"one of the normal lane": {}, "an urgent one": urgent} {
		t.Run(name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.agent(agent.Options{})
				w.defers(a, agent.Policy{})
				w.config(a, agent.Policy{})
				stop := run(w.T, a)
				drain := w.send(command.Drain{}, o)
				time.Sleep(time.Minute)
				behind := w.send(key("behind", ""), o)
				running := w.send(key("running", "30m"), command.Options{})
				time.Sleep(time.Minute)
				began := time.Now()
				_, err := w.c.Cancel(w.Context(), drain.ID(), "not at all")
				require.NoError(w, err)
				w.settled(drain, ack.Canceled, "not at all")
				w.settled(behind, ack.Succeeded, "")
				require.Less(w, time.Since(began), time.Second)
				w.settled(running, ack.Succeeded, "")
				require.NoError(w, stop())
			})
		})
	}
}

// A deferred command whose time has come while another of its lane runs says that it waits: it is not delivered again and
// again.
func TestDeferredWaitsForItsTurn(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.defers(a, agent.Policy{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		drain := w.send(command.Drain{}, urgent)
		time.Sleep(24*time.Hour - time.Minute)
		w.send(key("long", "1h"), urgent)
		time.Sleep(50 * time.Minute)
		e, err := w.c.Get(w.Context(), drain.ID())
		require.NoError(w, err)
		require.Equal(w, ack.Received, e.State.Stage)
		require.LessOrEqual(w, e.State.Attempt, 2)
		w.settled(drain, ack.Succeeded, "")
		require.NoError(w, stop())
	})
}

// A handler that hangs holds up no urgent command.
func TestUrgentBesideAHandlerThatHangs(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{StopGrace: time.Second})
		release := make(chan struct{})
		w.Cleanup(func() { close(release) })
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			<-release
			return nil, nil
		}, agent.Policy{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.send(command.Drain{}, command.Options{})
		time.Sleep(time.Minute)
		w.settled(w.send(key("urgent", ""), urgent), ack.Succeeded, "")
		require.NoError(w, stop())
	})
}

// exclusive is a world with handlers of each policy, whose values say how long they take: update_config is one at a time,
// drain is exclusive, set_log_level is concurrent.
func (w *world) exclusive() (stop func() error) {
	a := w.agent(agent.Options{})
	w.config(a, agent.Policy{})
	agent.Handle(a, func(_ context.Context, job *agent.Job, d command.Drain) (any, error) {
		if d.Reason == "later" && job.Attempt() == 1 {
			w.did("later")
			return nil, agent.RetryLater(10*time.Minute, "not now")
		}
		w.did("[%s", d.Reason)
		time.Sleep(time.Minute)
		w.did("]")
		return nil, nil
	}, agent.Policy{Exclusive: true})
	agent.Handle(a, func(_ context.Context, _ *agent.Job, _ command.SetLogLevel) (any, error) {
		w.did("beside")
		time.Sleep(10 * time.Second)
		w.did("beside-end")
		return nil, nil
	}, agent.Policy{Concurrent: true})
	return run(w.T, a)
}

// An exclusive command waits for what runs, and what comes later waits for it, but urgent ones until it has begun.
func TestExclusive(t *testing.T) {
	beside := command.SetLogLevel{Level: "info"}
	for _, test := range []struct {
		name string
		play func(w *world) (last *controller.Receipt)
		want string
	}{
		{"waits for its own lane", func(w *world) *controller.Receipt {
			w.send(key("1", "1m"), command.Options{})
			w.send(command.Drain{Reason: "x"}, command.Options{})
			return w.send(key("2", ""), command.Options{})
		}, "1 [x ] 2"},
		{"an urgent one waits for what runs, and for nothing that waits", func(w *world) *controller.Receipt {
			w.send(key("1", "1m"), command.Options{})
			last := w.send(key("2", ""), command.Options{})
			time.Sleep(time.Second)
			w.send(command.Drain{Reason: "x"}, urgent)
			return last
		}, "1 [x ] 2"},
		{"waits for concurrent ones, and later ones wait for it", func(w *world) *controller.Receipt {
			w.send(beside, command.Options{})
			time.Sleep(time.Second)
			w.send(command.Drain{Reason: "x"}, command.Options{})
			time.Sleep(time.Second)
			return w.send(beside, command.Options{})
		}, "beside beside-end [x ] beside beside-end"},
		{"urgent ones do not wait for one that waits", func(w *world) *controller.Receipt {
			w.send(beside, command.Options{})
			time.Sleep(time.Second)
			last := w.send(command.Drain{Reason: "x"}, command.Options{})
			time.Sleep(time.Second)
			w.send(key("urgent", ""), urgent)
			return last
		}, "beside urgent beside-end [x ]"},
		{"urgent ones wait for one that runs", func(w *world) *controller.Receipt {
			w.send(command.Drain{Reason: "x"}, command.Options{})
			time.Sleep(time.Second)
			return w.send(key("urgent", ""), urgent)
		}, "[x ] urgent"},
		{"a deferral runs nothing", func(w *world) *controller.Receipt {
			last := w.send(command.Drain{Reason: "later"}, command.Options{})
			w.settled(w.send(beside, command.Options{}), ack.Succeeded, "")
			w.settled(w.send(key("urgent", ""), urgent), ack.Succeeded, "")
			return last
		}, "later beside beside-end urgent [later ]"},
		{"one that is cancelled before it has begun holds up nothing", func(w *world) *controller.Receipt {
			w.send(beside, command.Options{})
			time.Sleep(time.Second)
			x := w.send(command.Drain{Reason: "x"}, command.Options{})
			last := w.send(key("behind", ""), command.Options{})
			time.Sleep(time.Second)
			_, err := w.c.Cancel(w.Context(), x.ID(), "not needed")
			require.NoError(w, err)
			w.settled(x, ack.Canceled, "not needed")
			return last
		}, "beside behind beside-end"},
	} {
		t.Run(test.name, func(t *testing.T) {
			inWorld(t, func(w *world) {
				stop := w.exclusive()
				last := test.play(w)
				w.settled(last, ack.Succeeded, "")
				time.Sleep(time.Hour)
				require.Equal(w, test.want, w.sofar())
				require.NoError(w, stop())
			})
		})
	}
}

func TestExclusiveAndConcurrent(t *testing.T) {
	t.Parallel()
	a, err := agent.New(dialFunc(nil), agent.Options{VM: "vm-1"})
	require.NoError(t, err)
	require.Panics(t, func() {
		a.HandleRaw("mine", func(context.Context, *agent.Job) (any, error) { return nil, nil }, agent.Policy{Concurrent: true, Exclusive: true})
	})
}
