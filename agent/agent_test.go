package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a controller and an agent in one process, under fake time.
type world struct {
	*testing.T
	c      *controller.Controller
	ledger ledger.Ledger

	direct bool                                // links are transport.Direct
	wrap   func(transport.Link) transport.Link // what else they are; nil: nothing

	mu  sync.Mutex
	up  *controller.Controller // that the agent reaches
	ran []string               // what the handlers of handle did
}

// inWorld runs a test over links that are waited on, and over such that call.
func inWorld(t *testing.T, test func(w *world)) {
	t.Helper()
	t.Parallel()
	for _, kind := range []string{"received", "direct"} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				w := &world{T: t, ledger: memory.New(), direct: kind == "direct"}
				t.Cleanup(w.leave)
				w.start()
				defer func() { w.c.Close() }()
				test(w)
			})
		})
	}
}

// leave lets handlers that heed nothing return after a failure: a bubble with goroutines that are left panics, and hides
// what has failed.
func (w *world) leave() {
	if w.Failed() {
		time.Sleep(24 * time.Hour)
	}
}

// start starts the controller; before it is started again it is to be closed.
func (w *world) start() {
	w.c = controller.New(w.ledger, controller.Options{})
	w.mu.Lock()
	defer w.mu.Unlock()
	w.up = w.c
}

// Dial implements transport.Transport.
func (w *world) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	w.mu.Lock()
	up := w.up
	w.mu.Unlock()
	l, err := up.Dial(ctx, h)
	if err == nil && w.wrap != nil {
		l = w.wrap(l)
	}
	if err == nil && w.direct {
		l = linktest.Direct(l)
	}
	return l, err
}

// agent makes one; handlers are declared on it before run.
func (w *world) agent(o agent.Options) *agent.Agent {
	w.Helper()
	o.VM = "vm-1"
	a, err := agent.New(w, o)
	require.NoError(w, err)
	return a
}

func (w *world) did(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ran = append(w.ran, fmt.Sprintf(format, args...))
}

func (w *world) sofar() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return strings.Join(w.ran, " ")
}

func (w *world) send(p command.Params, o command.Options) *controller.Receipt {
	w.Helper()
	cmd, err := command.New(p, o)
	require.NoError(w, err)
	r, err := w.c.Send(w.Context(), "vm-1", cmd)
	require.NoError(w, err)
	return r
}

func (w *world) settled(r *controller.Receipt, stage ack.Stage, reason string) ledger.Entry {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), time.Hour)
	defer cancel()
	e, err := r.Wait(ctx)
	require.NoError(w, err)
	require.Equal(w, stage, e.State.Stage, e.Reason)
	require.Contains(w, e.Reason, reason)
	return e
}

// config handles update_config: it notes the key, waits as long as the value says, and heeds its
// context.
func (w *world) config(a *agent.Agent, p agent.Policy) {
	agent.Handle(a, func(ctx context.Context, _ *agent.Job, c command.UpdateConfig) (any, error) {
		wait, _ := time.ParseDuration(fmt.Sprint(c.ConfigValue))
		w.did("%s", c.ConfigKey)
		select {
		case <-time.After(wait):
			return c.ConfigKey, nil
		case <-ctx.Done():
			w.did("%s-stopped", c.ConfigKey)
			return nil, context.Cause(ctx)
		}
	}, p)
}

func key(k, wait string) command.UpdateConfig {
	return command.UpdateConfig{ConfigKey: k, ConfigValue: wait}
}

func TestWhatAHandlerReturns(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		failures := map[string]func(job *agent.Job) (any, error){
			"ok":      func(*agent.Job) (any, error) { return map[string]int{"n": 1}, nil },
			"error":   func(*agent.Job) (any, error) { return nil, errors.New("no such disk") },
			"reject":  func(*agent.Job) (any, error) { return nil, agent.Reject("not on this kind of VM") },
			"wrapped": func(*agent.Job) (any, error) { return nil, fmt.Errorf("config: %w", agent.Reject("never")) },
			"panic":   func(*agent.Job) (any, error) { panic("index out of range") },
			"later": func(job *agent.Job) (any, error) {
				if job.Attempt() < 3 {
					return nil, agent.RetryLater(time.Minute, "busy")
				}
				return job.Attempt(), nil
			},
			"unmarshallable": func(*agent.Job) (any, error) { return func() {}, nil },
			"huge":           func(*agent.Job) (any, error) { return strings.Repeat("x", ack.MaxResult), nil },
			"long reason":    func(*agent.Job) (any, error) { return nil, errors.New(strings.Repeat("é", ack.MaxText)) },
		}
		agent.Handle(a, func(_ context.Context, job *agent.Job, c command.UpdateConfig) (any, error) {
			return failures[c.ConfigKey](job)
		}, agent.Policy{})
		stop := run(w.T, a)
		for _, test := range []struct {
			key    string
			stage  ack.Stage
			reason string
			result string
		}{
			{"ok", ack.Succeeded, "", `{"n":1}`},
			{"error", ack.Failed, "no such disk", ""},
			{"reject", ack.Rejected, "not on this kind of VM", ""},
			{"wrapped", ack.Rejected, "never", ""},
			{"panic", ack.Failed, "the handler panicked", ""},
			{"later", ack.Succeeded, "", "3"},
			{"unmarshallable", ack.Succeeded, "the result is not JSON", ""},
			{"huge", ack.Succeeded, "bytes, at most", ""},
			{"long reason", ack.Failed, "éé…", ""},
		} {
			e := w.settled(w.send(key(test.key, ""), command.Options{}), test.stage, test.reason)
			require.Equal(w, test.result, string(e.Result), test.key)
		}
		require.NoError(w, stop())
	})
}

func TestBadCommands(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) { return nil, nil }, agent.Policy{})
		stop := run(w.T, a)
		raw := func(typ command.Type, params string) *controller.Receipt {
			cmd, err := command.NewRaw(typ, command.Parameters(params), command.Options{})
			require.NoError(w, err)
			r, err := w.c.Send(w.Context(), "vm-1", cmd)
			require.NoError(w, err)
			return r
		}
		w.settled(raw("levitate", "{}"), ack.Rejected, "unknown type; known are cancel, drain, update_config")
		w.settled(w.send(key("after", "1s"), command.Options{}), ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "after", w.sofar())
	})
}

// What was handled is answered for when it comes again, and not handled again.
func TestDuplicates(t *testing.T) {
	inWorld(t, func(w *world) {
		page := make(chan []transport.Delivery)
		acks := make(chan ack.Ack, 100)
		a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
			return &manual{page: page, acks: acks, done: make(chan struct{})}, nil
		}), agent.Options{VM: "vm-1", Remember: 2})
		require.NoError(w, err)
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		delivery := func(id string, attempt int, wait string) transport.Delivery {
			cmd, err := command.New(key(id, wait), command.Options{ID: id})
			require.NoError(w, err)
			return transport.Delivery{Cursor: "c", Attempt: attempt, Command: cmd}
		}
		// until is the next ack of a stage; others before it say again what is so.
		until := func(stage ack.Stage) ack.Ack {
			for {
				if said := <-acks; said.Stage == stage {
					said.Time = time.Time{}
					return said
				}
			}
		}
		done := func(id string, attempt int) ack.Ack {
			return ack.Ack{CommandID: id, Stage: ack.Succeeded, Attempt: attempt, Result: []byte(`"` + id + `"`)}
		}

		page <- []transport.Delivery{delivery("a", 1, "1m"), delivery("a", 1, "1m")}
		started := until(ack.Started)
		require.NotEmpty(w, started.Run)
		require.Equal(w, ack.Ack{CommandID: "a", Stage: ack.Started, Attempt: 1, Run: started.Run}, started)
		page <- []transport.Delivery{delivery("a", 2, "1m")} // while it runs
		require.Equal(w, ack.Ack{CommandID: "a", Stage: ack.Started, Attempt: 2, Run: started.Run}, until(ack.Started), "the same run")
		require.Equal(w, done("a", 2), until(ack.Succeeded))
		page <- []transport.Delivery{delivery("a", 3, "1m")} // when it is done
		require.Equal(w, done("a", 3), until(ack.Succeeded))
		require.Equal(w, "a", w.sofar())

		page <- []transport.Delivery{delivery("b", 1, ""), delivery("c", 1, "")}
		time.Sleep(time.Second)
		page <- []transport.Delivery{delivery("b", 2, "")}
		time.Sleep(time.Second)
		require.Equal(w, "a b c", w.sofar())
		require.NoError(w, stop())
	})
}

// manual is a link whose other end is the test.
type manual struct {
	page chan []transport.Delivery
	acks chan ack.Ack
	once sync.Once
	done chan struct{}
}

func (m *manual) Receive(ctx context.Context) ([]transport.Delivery, error) {
	select {
	case p := <-m.page:
		return p, nil
	case <-m.done:
		return nil, transport.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (m *manual) Ack(_ context.Context, acks ...ack.Ack) error {
	for _, a := range acks {
		m.acks <- a
	}
	return nil
}

func (m *manual) Report(context.Context, ...event.Event) error { return nil }

func (m *manual) Close() error {
	m.once.Do(func() { close(m.done) })
	return nil
}

// A handler that asks for permission does not run before the start is on record, nor where it is
// refused.
func TestConfirm(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{Confirm: true})
		agent.Handle(a, func(ctx context.Context, job *agent.Job, _ command.Drain) (any, error) {
			e, err := w.c.Get(ctx, job.Command().ID)
			return e.State.Stage, err
		}, agent.Policy{Confirm: true})
		stop := run(w.T, a)
		e := w.settled(w.send(command.Drain{}, command.Options{}), ack.Succeeded, "")
		require.Equal(w, `"started"`, string(e.Result))

		first := w.send(key("1", "1m"), command.Options{})
		waiting := w.send(key("2", ""), command.Options{})
		expiring := w.send(key("3", ""), command.Options{TTL: 10 * time.Second})
		synctest.Wait()
		_, err := w.c.Cancel(w.Context(), waiting.ID(), "not needed")
		require.NoError(w, err)
		w.settled(first, ack.Succeeded, "")
		w.settled(waiting, ack.Canceled, "not needed")
		w.settled(expiring, ack.Expired, "")
		require.NoError(w, stop())
		require.Equal(w, "1", w.sofar())
	})
}

func TestCancel(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
			time.Sleep(time.Minute) // heeds nothing
			return nil, nil
		}, agent.Policy{Concurrent: true})
		stop := run(w.T, a)
		running := w.send(key("running", "1h"), command.Options{})
		waiting := w.send(key("waiting", ""), command.Options{})
		stubborn := w.send(command.Drain{}, command.Options{})
		time.Sleep(time.Second)
		for _, r := range []*controller.Receipt{stubborn, waiting, running} {
			_, err := w.c.Cancel(w.Context(), r.ID(), "changed our minds")
			require.NoError(w, err)
		}
		w.settled(waiting, ack.Canceled, "changed our minds")
		w.settled(running, ack.Canceled, agent.ErrCanceled.Error())
		w.settled(stubborn, ack.Succeeded, "")
		require.Equal(w, "running running-stopped", w.sofar())

		// A cancel command of one's own: of what was never here, and of what is over.
		cancel := func(id string) *controller.Receipt {
			return w.send(command.Cancel{CommandID: id}, command.Options{Urgent: true})
		}
		w.settled(cancel("nothing"), ack.Succeeded, "")
		w.settled(cancel(stubborn.ID()), ack.Failed, "the command has succeeded")
		require.NoError(w, stop())
	})
}

// A newer command ends those of its key that have not begun, and none that has.
func TestSupersede(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		o := command.Options{SupersedeKey: "config"}
		first := w.send(key("1", "1m"), o)
		time.Sleep(time.Second)
		second := w.send(key("2", ""), o)
		time.Sleep(time.Second)
		third := w.send(key("3", ""), o)
		w.settled(second, ack.Superseded, third.ID())
		w.settled(first, ack.Succeeded, "")
		w.settled(third, ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "1 3", w.sofar())
	})
}

// Progress of a running handler is on record; of many reports that wait the latest is sent. What is
// said after the end counts no more.
func TestProgress(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		var job *agent.Job
		agent.Handle(a, func(_ context.Context, j *agent.Job, _ command.Drain) (any, error) {
			job = j
			for i := range 1000 {
				if err := j.Progress(fmt.Sprint("step ", i), i); err != nil {
					return nil, err
				}
			}
			time.Sleep(time.Minute)
			return nil, j.Progress("unmarshallable", func() {})
		}, agent.Policy{})
		stop := run(w.T, a)
		r := w.send(command.Drain{}, command.Options{})
		time.Sleep(time.Second)
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, ack.Progress, e.State.Stage)
		require.Equal(w, "step 999", e.Reason)
		require.Less(w, len(e.History), 100)
		w.settled(r, ack.Failed, "the result is not JSON")
		require.NoError(w, job.Progress("late", nil))
		require.NoError(w, stop())
		w.settled(r, ack.Failed, "the result is not JSON")
	})
}

// A process that died in the middle leaves what its journal says to the next, which follows each
// type's policy.
func TestAfterCrash(t *testing.T) {
	for policy, want := range map[agent.AfterCrash]struct {
		stage  ack.Stage
		reason string
		ran    string
	}{
		agent.Interrupted: {ack.Interrupted, "the agent died", "1 1-stopped 2"},
		agent.RunAgain:    {ack.Succeeded, "", "1 1-stopped 1 2"},
		agent.Completed:   {ack.Succeeded, "the agent is back", "1 1-stopped 2"},
	} {
		t.Run(string(want.stage)+want.reason, func(t *testing.T) {
			inWorld(t, func(w *world) {
				dir := w.TempDir()
				o := agent.Options{Journal: dir, StopGrace: time.Second}
				a := w.agent(o)
				w.config(a, agent.Policy{AfterCrash: policy})
				stop := run(w.T, a)
				first := w.send(key("1", "1m"), command.Options{})
				second := w.send(key("2", ""), command.Options{})
				time.Sleep(time.Second)
				require.NoError(w, stop()) // as good as a crash: neither is finished

				a = w.agent(o)
				w.config(a, agent.Policy{AfterCrash: policy})
				stop = run(w.T, a)
				w.settled(first, want.stage, want.reason)
				w.settled(second, ack.Succeeded, "")
				require.NoError(w, stop())
				require.Equal(w, want.ran, w.sofar())
			})
		})
	}
}

// An outcome that the controller has not heard of is told by the next process.
func TestOutcomeOutlivesTheProcess(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		o := agent.Options{Journal: dir, StopGrace: time.Second}
		deaf, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := w.Dial(ctx, h)
			return mute{l}, err
		}), agent.Options{VM: "vm-1", Journal: dir, StopGrace: time.Second})
		require.NoError(w, err)
		w.config(deaf, agent.Policy{})
		stop := run(w.T, deaf)
		r := w.send(key("1", ""), command.Options{})
		time.Sleep(time.Second)
		require.NoError(w, stop())

		a := w.agent(o)
		w.config(a, agent.Policy{})
		stop = run(w.T, a)
		w.settled(r, ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "1", w.sofar())
	})
}

// A handler that does not heed its context is waited for as long as was said, and no longer.
func TestStopGrace(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{StopGrace: 3 * time.Second})
		release := make(chan struct{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			<-release
			return nil, nil
		}, agent.Policy{})
		stop := run(w.T, a)
		w.send(command.Drain{}, command.Options{})
		time.Sleep(time.Second)
		began := time.Now()
		require.NoError(w, stop())
		require.Equal(w, 3*time.Second, time.Since(began))
		close(release)
	})
}

// Report waits for a link, outlives one, and ends with its context, a refusal, or Run.
func TestReport(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		ctx, cancel := context.WithTimeout(w.Context(), time.Second)
		defer cancel()
		require.ErrorIs(w, a.Report(ctx, event.Event{Type: "x"}), context.DeadlineExceeded)
		reported := make(chan error)
		go func() { reported <- a.Report(w.Context(), event.Event{Type: "x"}) }()
		synctest.Wait()
		stop := run(w.T, a)
		require.NoError(w, <-reported)
		require.True(w, a.Connected())
		require.ErrorIs(w, a.Report(w.Context(), event.Event{}), transport.ErrInvalid)

		w.c.Close()
		synctest.Wait()
		require.False(w, a.Connected())
		go func() { reported <- a.Report(w.Context(), event.Event{Type: "x"}) }()
		time.Sleep(time.Minute)
		w.start()
		require.NoError(w, <-reported)
		require.NoError(w, stop())
	})
}

// An event that is not valid reaches no link: it would end one after the other.
func TestInvalidEvents(t *testing.T) {
	inWorld(t, func(w *world) {
		a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
			return &manual{done: make(chan struct{})}, nil
		}), agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		stop := run(w.T, a)
		require.NoError(w, a.Report(w.Context(), event.Event{Type: "x"}))
		require.ErrorIs(w, a.Report(w.Context(), event.Event{Type: "x", Metadata: []byte("{")}), transport.ErrInvalid)
		require.NoError(w, stop())
	})
}

func TestMisuse(t *testing.T) {
	t.Parallel()
	_, err := agent.New(nil, agent.Options{VM: "vm-1"})
	require.ErrorContains(t, err, "no transport")
	nowhere := dialFunc(func(context.Context, transport.Hello) (transport.Link, error) { return nil, errors.New("nowhere") })
	_, err = agent.New(nowhere, agent.Options{})
	require.ErrorIs(t, err, transport.ErrInvalid)
	_, err = agent.New(nowhere, agent.Options{VM: "vm-1", Window: -1})
	require.ErrorContains(t, err, "negative")

	a, err := agent.New(nowhere, agent.Options{VM: "vm-1", Journal: "/dev/null/journal"})
	require.NoError(t, err)
	do := func(context.Context, *agent.Job) (any, error) { return nil, nil }
	a.HandleRaw("mine", do, agent.Policy{})
	require.PanicsWithValue(t, `agent: a second handler for "mine"`, func() { a.HandleRaw("mine", do, agent.Policy{}) })
	require.Panics(t, func() { a.HandleRaw("", do, agent.Policy{}) })
	require.Panics(t, func() { a.HandleRaw(command.TypeCancel, do, agent.Policy{}) })
	require.ErrorContains(t, a.Run(t.Context()), "journal: mkdir /dev/null")
	require.PanicsWithValue(t, "agent: Handle after Run", func() { a.HandleRaw("other", do, agent.Policy{}) })
}

// farAway is a link whose controller hears after half, and answers after all of a round trip.
type farAway struct {
	transport.Link
	w *world
}

const roundTrip = 40 * time.Millisecond

func (f farAway) Ack(ctx context.Context, acks ...ack.Ack) error {
	for _, a := range acks {
		f.w.did("%s", a.Stage)
	}
	f.w.did("|")
	time.Sleep(roundTrip / 2)
	err := f.Link.Ack(ctx, acks...)
	time.Sleep(roundTrip / 2)
	return err
}

// What a command has come to is not held up by having said that it was accepted, however far the controller.
func TestShortCommandsTakeOneAck(t *testing.T) {
	inWorld(t, func(w *world) {
		far := dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := w.Dial(ctx, h)
			return farAway{l, w}, err
		})
		a, err := agent.New(far, agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) {
			time.Sleep(time.Millisecond)
			return nil, nil
		}, agent.Policy{})
		stop := run(w.T, a)
		time.Sleep(time.Second) // it is linked
		const commands = 20
		for range commands { // what is chosen of two that are ready is chance
			w.settled(w.send(key("a", ""), command.Options{}), ack.Succeeded, "")
			time.Sleep(roundTrip/2 - time.Millisecond/2) // the next comes right before the answer
		}
		require.NoError(w, stop())
		require.Equal(w, strings.Repeat("succeeded | ", commands), w.sofar()+" ")
	})
}

// A controller that has had enough for now gets an event later: as late as it asks for.
func TestReportIsHeldUp(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{Access: controller.Access{EventsPerVM: controller.Rate{PerSecond: 0.1, AtOnce: 1}}})
		asked := 0
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := c.Dial(ctx, h)
			return reporting{l, &asked}, err
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		stop := run(t, a)
		time.Sleep(time.Minute) // the agent's sign of life counts, too
		began := time.Now()
		for range 3 {
			require.NoError(t, a.Report(t.Context(), event.Event{Type: "e"}))
		}
		require.GreaterOrEqual(t, time.Since(began), 10*time.Second)
		require.LessOrEqual(t, asked, 5, "it asks more often than it may")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, a.Report(ctx, event.Event{Type: "e"}), context.DeadlineExceeded)
		require.NoError(t, stop())
		require.NoError(t, c.Close())
	})
}

// reporting is a link that counts its reports.
type reporting struct {
	transport.Link
	n *int
}

func (r reporting) Report(ctx context.Context, events ...event.Event) error {
	if len(events) > 0 {
		*r.n++
	}
	return r.Link.Report(ctx, events...)
}

// An ack that is too much for now is sent again, over the next link.
func TestAcksThatAreTooMuch(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		refuse := 3
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := c.Dial(ctx, h)
			return refusing{l, &refuse}, err
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		w := &world{T: t, c: c}
		w.config(a, agent.Policy{})
		stop := run(t, a)
		began := time.Now()
		w.settled(w.send(key("a", "0s"), command.Options{}), ack.Succeeded, "")
		require.Zero(t, refuse)
		require.Less(t, time.Since(began), 30*time.Second, "it waits for the command to come again")
		require.NoError(t, stop())
		require.NoError(t, c.Close())
	})
}

// refusing is a link that refuses so many times to take acks, and then ends.
type refusing struct {
	transport.Link
	times *int
}

func (r refusing) Ack(ctx context.Context, acks ...ack.Ack) error {
	if *r.times > 0 {
		*r.times--
		defer r.Close()
		return &transport.Error{Code: transport.CodeRateLimited, RetryAfter: time.Second}
	}
	return r.Link.Ack(ctx, acks...)
}

// A link that ends with its credentials is dialled again at once; a dial that is refused for them is not.
func TestCredentialsExpire(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		var at []time.Time
		var mu sync.Mutex
		refuse, life := false, time.Hour
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			mu.Lock()
			defer mu.Unlock()
			at = append(at, time.Now())
			if refuse {
				return nil, transport.ErrCredentialsExpired
			}
			l, err := c.Dial(ctx, h)
			return &expiring{l, time.Now().Add(life)}, err
		}), agent.Options{VM: "vm-1", BackoffInitial: time.Minute, BackoffMax: time.Minute})
		require.NoError(t, err)
		stop := run(t, a)
		time.Sleep(10*time.Hour + time.Minute)
		mu.Lock()
		require.Len(t, at, 11)
		for i := range at[1:] {
			require.Equal(t, time.Hour, at[i+1].Sub(at[i]))
		}
		refuse = true
		mu.Unlock()
		time.Sleep(10 * time.Hour)
		mu.Lock()
		require.Less(t, len(at), 11+10*60*4, "there are pauses")
		refuse, life, at = false, time.Millisecond, nil
		mu.Unlock()
		time.Sleep(10 * time.Hour)
		require.NoError(t, stop())
		require.Less(t, len(at), 10*60*4, "there are pauses, too, where credentials are over at once")
	})
}

// expiring is a link that ends with its credentials.
type expiring struct {
	transport.Link
	at time.Time
}

func (e *expiring) Receive(ctx context.Context) ([]transport.Delivery, error) {
	ctx, cancel := transport.Grant{Expires: e.at}.Context(ctx)
	defer cancel()
	page, err := e.Link.Receive(ctx)
	if err != nil {
		err = context.Cause(ctx)
	}
	return page, err
}
