package agent_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/clock"
	"github.com/miglink/miglink/internal/linktest"
	"github.com/miglink/miglink/transport"
)

// elsewhere is the controller of a world, on a machine whose clock is off by so much.
type elsewhere struct {
	w   *world
	off time.Duration
}

func (f elsewhere) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	l, err := f.w.c.Dial(ctx, h)
	if err != nil {
		return nil, err
	}
	l = shifted{l, f.off}
	if f.w.direct {
		return linktest.Direct(l), nil
	}
	return l, nil
}

type shifted struct {
	transport.Link
	off time.Duration
}

func (l shifted) Receive(ctx context.Context) ([]transport.Delivery, error) {
	page, err := l.Link.Receive(ctx)
	for i := range page {
		d := &page[i]
		d.CreatedAt = d.CreatedAt.Add(l.off)
		if !d.ExpiresAt.IsZero() {
			d.ExpiresAt = d.ExpiresAt.Add(l.off)
		}
	}
	return page, err
}

// A command runs within its TTL, and not after it, whatever the two clocks show.
func TestClocksThatDiffer(t *testing.T) {
	for _, off := range []time.Duration{-24 * time.Hour, -3 * time.Second, 3 * time.Second, 24 * time.Hour} {
		for _, confirm := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, confirm %t", off, confirm), func(t *testing.T) {
				inWorld(t, func(w *world) {
					a, err := agent.New(elsewhere{w, off}, agent.Options{VM: "vm-1"})
					require.NoError(w, err)
					w.config(a, agent.Policy{Confirm: confirm})
					stop := run(w.T, a)
					w.settled(w.send(key("in-time", ""), command.Options{TTL: 2 * time.Second}), ack.Succeeded, "")
					first := w.send(key("long", "10s"), command.Options{})
					late := w.send(key("late", ""), command.Options{TTL: 2 * time.Second})
					waits := w.send(key("waits", ""), command.Options{TTL: 20 * time.Second})
					w.settled(late, ack.Expired, "not started in time")
					w.settled(first, ack.Succeeded, "")
					w.settled(waits, ack.Succeeded, "")
					require.NoError(w, stop())
					require.Equal(w, "in-time long waits", w.sofar())
				})
			})
		}
	}
}

// A deferral does not outlast the time that a command has.
func TestDeferredUntilItExpires(t *testing.T) {
	inWorld(t, func(w *world) {
		a, err := agent.New(elsewhere{w, time.Hour}, agent.Options{VM: "vm-1"})
		require.NoError(w, err)
		agent.Handle(a, func(context.Context, *agent.Job, command.Drain) (any, error) {
			w.did("drain")
			return nil, agent.RetryLater(time.Minute, "busy")
		}, agent.Policy{})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		begun := time.Now()
		w.send(command.Drain{}, command.Options{TTL: 10 * time.Second})
		behind := w.send(key("behind", ""), command.Options{})
		w.settled(behind, ack.Succeeded, "")
		require.Equal(w, 10*time.Second, time.Since(begun).Truncate(time.Second))
		require.NoError(w, stop())
		require.Equal(w, "drain behind", w.sofar())
	})
}

// The next process cannot tell how long a command has waited. It asks before it starts one that may expire, and only then.
func TestTimeLeftAfterARestart(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{Journal: w.TempDir(), StopGrace: time.Second}
		a := w.agent(o)
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.send(key("held", "1h"), command.Options{})
		late := w.send(key("late", ""), command.Options{TTL: time.Minute})
		inTime := w.send(key("in-time", ""), command.Options{TTL: time.Hour})
		always := w.send(key("always", ""), command.Options{})
		synctest.Wait()
		require.NoError(w, stop())
		time.Sleep(2 * time.Minute)

		o.VM = "vm-1"
		deaf, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := w.Dial(ctx, h)
			return mute{l}, err
		}), o)
		require.NoError(w, err)
		w.config(deaf, agent.Policy{})
		stop = run(w.T, deaf)
		synctest.Wait()
		require.NoError(w, stop())
		require.Equal(w, "held held-stopped", w.sofar(), "what may have expired waits for the controller, and what comes after it keeps its place")

		a = w.agent(o)
		w.config(a, agent.Policy{})
		stop = run(w.T, a)
		w.settled(late, ack.Expired, "not started in time")
		w.settled(inTime, ack.Succeeded, "")
		w.settled(always, ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "held held-stopped in-time always", w.sofar())
	})
}

// sleeper is a machine that may sleep: its monotonic clock stands meanwhile, and what is sent to it arrives when it wakes.
type sleeper struct {
	mu     sync.Mutex
	slept  time.Duration
	since  time.Time     // of being asleep; zero: it is awake
	waking chan struct{} // closed when it wakes
	again  []transport.Delivery
}

func (s *sleeper) read() clock.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	now, slept := time.Now(), s.slept
	if !s.since.IsZero() {
		slept += now.Sub(s.since)
	}
	return clock.Reading{Monotonic: now.Add(-slept), Wall: now.UnixNano()}
}

func (s *sleeper) sleep(d time.Duration) {
	s.mu.Lock()
	s.since, s.waking = time.Now(), make(chan struct{})
	s.mu.Unlock()
	time.Sleep(d)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.slept += d
	s.since = time.Time{}
	close(s.waking)
}

// sleepersLink is one of a sleeper.
type sleepersLink struct {
	transport.Link
	s *sleeper
}

// Receive hands out twice what came while the machine slept.
func (l sleepersLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if page := l.s.again; page != nil {
		l.s.again = nil
		return page, nil
	}
	page, err := l.Link.Receive(ctx)
	l.s.mu.Lock()
	since, waking := l.s.since, l.s.waking
	l.s.mu.Unlock()
	if !since.IsZero() {
		<-waking
		l.s.again = page
	}
	return page, err
}

// Ack takes a while, in which a command may start.
func (l sleepersLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	time.Sleep(2 * time.Second)
	return l.Link.Ack(ctx, acks...)
}

// What comes when the machine wakes may be as old as its sleep was long: the agent asks before it starts what may have
// expired meanwhile.
func TestDeliveryToASleeper(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &sleeper{}
		w.wrap = func(l transport.Link) transport.Link { return sleepersLink{l, s} }
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		stop := runIn(clock.With(w.Context(), s.read), w.T, a)
		w.settled(w.send(key("before", ""), command.Options{TTL: 10 * time.Second}), ack.Succeeded, "")
		first := w.send(key("first", "21s"), command.Options{})
		synctest.Wait()
		slept := make(chan struct{})
		go func() {
			defer close(slept)
			s.sleep(20 * time.Second)
		}()
		synctest.Wait()
		late := w.send(key("late", ""), command.Options{TTL: 10 * time.Second})
		<-slept
		w.settled(first, ack.Succeeded, "")
		w.settled(late, ack.Expired, "not started in time")
		w.settled(w.send(key("after", ""), command.Options{TTL: 10 * time.Second}), ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "before first after", w.sofar())
	})
}

// A machine that sleeps while a command waits for its turn, or whose clock is set: the agent asks, and starts it in time only.
func TestSleepsWhileACommandWaits(t *testing.T) {
	inWorld(t, func(w *world) {
		s := &sleeper{}
		a := w.agent(agent.Options{})
		w.config(a, agent.Policy{})
		stop := runIn(clock.With(w.Context(), s.read), w.T, a)
		first := w.send(key("first", "30s"), command.Options{})
		late := w.send(key("late", ""), command.Options{TTL: 25 * time.Second})
		inTime := w.send(key("in-time", ""), command.Options{TTL: time.Hour})
		synctest.Wait()
		s.sleep(20 * time.Second)
		w.settled(first, ack.Succeeded, "")
		w.settled(late, ack.Expired, "")
		w.settled(inTime, ack.Succeeded, "")
		require.NoError(w, stop())
		require.Equal(w, "first in-time", w.sofar())
	})
}
