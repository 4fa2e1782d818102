package agent_test

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/transport"
)

// A command that takes long holds up nothing but those that wait for their turn: that it began is told, the
// next page is taken, concurrent commands run, and it can be cancelled.
func TestLongCommand(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			time.Sleep(5 * time.Second)
			return nil, nil
		}, agent.Policy{Concurrent: true})
		stop := run(w.T, a)
		time.Sleep(time.Second) // it is linked
		beside := w.send(command.Drain{}, command.Options{})
		time.Sleep(time.Second)
		at := func(r *controller.Receipt, stage ack.Stage) {
			w.Helper()
			e, err := w.c.Get(w.Context(), r.ID())
			require.NoError(w, err)
			require.Equal(w, stage, e.State.Stage)
		}
		at(beside, ack.Started)
		long := w.send(key("long", "1h"), command.Options{})
		time.Sleep(time.Second)
		at(long, ack.Started)
		waiting := w.send(key("waiting", ""), command.Options{})
		time.Sleep(time.Second)
		at(waiting, ack.Received)
		w.settled(w.send(command.Drain{}, command.Options{}), ack.Succeeded, "")
		_, err := w.c.Cancel(w.Context(), long.ID(), "not needed")
		require.NoError(w, err)
		w.settled(long, ack.Canceled, "")
		w.settled(waiting, ack.Succeeded, "")
		require.Equal(w, "long long-stopped waiting", w.sofar())
		require.NoError(w, stop())
	})
}

// A command that asks whether it may start has its answer at once, though what reads the answer runs it.
func TestConfirmAtOnce(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{Confirm: true})
		stop := run(w.T, a)
		time.Sleep(time.Second) // it is linked
		began := time.Now()
		w.settled(w.send(key("a", ""), command.Options{}), ack.Succeeded, "")
		require.Zero(w, time.Since(began))
		require.NoError(w, stop())
	})
}

// The end of a command does not wait for the one after it on the same page.
func TestShortBeforeLong(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		short := w.send(key("short", ""), command.Options{})
		w.send(key("long", "1h"), command.Options{})
		stop := run(w.T, a)
		began := time.Now()
		w.settled(short, ack.Succeeded, "")
		require.Less(w, time.Since(began), 10*time.Millisecond)
		require.NoError(w, stop())
	})
}

// A handler that ends its goroutine has failed, and holds up nothing.
func TestGoexit(t *testing.T) {
	inWorld(t, func(w *world) {
		a := w.agent(agent.Options{})
		agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) {
			runtime.Goexit()
			return nil, nil
		}, agent.Policy{})
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			runtime.Goexit()
			return nil, nil
		}, agent.Policy{Concurrent: true})
		agent.Handle(a, func(context.Context, *agent.Job, command.SetLogLevel) (any, error) { return nil, nil }, agent.Policy{})
		stop := run(w.T, a)
		began := time.Now()
		for range 2 {
			first := w.send(key("a", ""), command.Options{})
			second := w.send(command.SetLogLevel{Level: "info"}, command.Options{})
			w.settled(first, ack.Failed, "ended its goroutine")
			w.settled(second, ack.Succeeded, "")
			w.settled(w.send(command.Drain{}, command.Options{}), ack.Failed, "ended its goroutine")
		}
		require.Less(w, time.Since(began), time.Second)
		require.NoError(w, stop())
	})
}

// twoPages is a link that has a second page taken as soon as it is to read on, or has the first behind it.
type twoPages struct {
	transport.Link
	first, second []transport.Delivery
	take          func([]transport.Delivery)
	once          sync.Once
	taken         sync.WaitGroup
}

func (l *twoPages) Deliver(take func([]transport.Delivery)) {
	l.take = take
	l.taken.Go(func() {
		take(l.first)
		l.next()
	})
}

func (l *twoPages) next() { l.once.Do(func() { l.take(l.second) }) }

func (l *twoPages) ReadOn() { go l.next() }

func (l *twoPages) Post(_ []ack.Ack, done func(error)) { done(nil) }

func (l *twoPages) Receive(ctx context.Context) ([]transport.Delivery, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (l *twoPages) Report(context.Context, ...event.Event) error { return nil }

func (l *twoPages) Close() error { return nil }

// A command that lets another goroutine read on does so only when the rest of its page has its place.
func TestReadOnKeepsTheOrder(t *testing.T) {
	t.Parallel()
	delivery := func(id string, kind command.Type) transport.Delivery {
		return transport.Delivery{Cursor: "c", Attempt: 1, Command: command.Command{ID: id, Type: kind, Parameters: command.Parameters("{}")}}
	}
	l := &twoPages{second: []transport.Delivery{delivery("last", "ordered")}}
	const many = 2000
	for i := range many {
		l.first = append(l.first, delivery(fmt.Sprint("c-", i), "ordered"))
	}
	l.first[0] = delivery("asks", "asks")
	a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) { return l, nil }), agent.Options{VM: "vm-1"})
	require.NoError(t, err)
	var ran []string // by one at a time
	done := make(chan struct{})
	a.HandleRaw("ordered", func(_ context.Context, job *agent.Job) (any, error) {
		if ran = append(ran, job.Command().ID); len(ran) == many {
			close(done)
		}
		return nil, nil
	}, agent.Policy{})
	a.HandleRaw("asks", func(context.Context, *agent.Job) (any, error) { return nil, nil }, agent.Policy{Concurrent: true, Confirm: true})
	stop := run(t, a)
	<-done
	require.Equal(t, "last", ran[many-1])
	require.NoError(t, stop())
	l.taken.Wait()
}

// A report that waits for a link gets it only once the link has been told whom to call: its first call begins it.
func TestReportWaitsForDeliver(t *testing.T) {
	inWorld(t, func(w *world) {
		early := false
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := w.c.Dial(ctx, h)
			return &begun{Direct: linktest.Direct(l), early: &early}, err
		}), agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		reported := make(chan error, 1)
		go func() { reported <- a.Report(w.Context(), event.Event{Type: event.VMStarted}) }()
		synctest.Wait()
		stop := run(w.T, a)
		require.NoError(w, <-reported)
		require.False(w, early)
		require.NoError(w, stop())
	})
}

// begun notes what begins it before Deliver.
type begun struct {
	transport.Direct
	delivering atomic.Bool
	early      *bool
}

func (b *begun) Deliver(take func([]transport.Delivery)) {
	synctest.Wait() // who can, has reported by now
	b.delivering.Store(true)
	b.Direct.Deliver(take)
}

func (b *begun) Report(ctx context.Context, events ...event.Event) error {
	if !b.delivering.Load() {
		*b.early = true
	}
	return b.Direct.Report(ctx, events...)
}
