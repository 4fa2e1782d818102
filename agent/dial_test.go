package agent_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// dialFunc is a Transport.
type dialFunc func(ctx context.Context, h transport.Hello) (transport.Link, error)

func (d dialFunc) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	return d(ctx, h)
}

// run runs an agent until stop, which a test calls, or the end of the test. A bubble whose test has failed, and has not
// come to stop, would panic over the goroutines that are left, and hide the failure.
func run(t *testing.T, a *agent.Agent) (stop func() error) {
	t.Helper()
	return runIn(t.Context(), t, a)
}

func runIn(ctx context.Context, t *testing.T, a *agent.Agent) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { _ = stop() })
	return stop
}

// An agent dials for ever. It waits a random time under a bound that doubles up to a maximum.
func TestBackoff(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
			at = append(at, time.Now())
			return nil, errors.New("connection refused")
		}), agent.Options{VM: "vm-1", BackoffInitial: time.Second, BackoffMax: time.Minute})
		require.NoError(t, err)
		stop := run(t, a)
		time.Sleep(24 * time.Hour)
		require.NoError(t, stop())

		bound, below := time.Second, 0
		for i := range at[1:] {
			wait := at[i+1].Sub(at[i])
			require.LessOrEqual(t, wait, bound, "wait %d", i)
			if wait < bound/2 {
				below++
			}
			bound = min(2*bound, time.Minute)
		}
		require.Greater(t, len(at), 24*60, "half a minute on average")
		require.InDelta(t, 0.5, float64(below)/float64(len(at)), 0.1, "the jitter is full")
	})
}

// The bound doubles: of many agents, some wait for nearly all of it.
func TestBackoffDoubles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var longest [6]time.Duration
		for range 100 {
			var at []time.Time
			a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
				at = append(at, time.Now())
				return nil, errors.New("connection refused")
			}), agent.Options{VM: "vm-1", BackoffInitial: time.Second, BackoffMax: time.Hour})
			require.NoError(t, err)
			stop := run(t, a)
			time.Sleep(time.Hour)
			require.NoError(t, stop())
			for i := range longest {
				longest[i] = max(longest[i], at[i+1].Sub(at[i]))
			}
		}
		for i, got := range longest {
			require.Greater(t, got, time.Second<<i*3/4, "wait %d", i)
		}
	})
}

// Scenario 33, with every spread: never earlier than was asked for.
func TestRetryAfter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
			at = append(at, time.Now())
			return nil, &transport.Error{Code: transport.CodeUnavailable, RetryAfter: time.Hour}
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		stop := run(t, a)
		time.Sleep(1000 * time.Hour)
		require.NoError(t, stop())
		require.Greater(t, len(at), 900)
		for i := range at[1:] {
			require.GreaterOrEqual(t, at[i+1].Sub(at[i]), time.Hour)
			require.LessOrEqual(t, at[i+1].Sub(at[i]), 66*time.Minute)
		}
	})
}

func TestTerminalErrorEndsRun(t *testing.T) {
	t.Parallel()
	for _, code := range []transport.Code{transport.CodeSuperseded, transport.CodeRevoked} {
		synctest.Test(t, func(t *testing.T) {
			a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
				return nil, &transport.Error{Code: code}
			}), agent.Options{VM: "vm-1"})
			require.NoError(t, err)
			require.ErrorIs(t, a.Run(t.Context()), &transport.Error{Code: code})
			require.ErrorContains(t, a.Run(t.Context()), "called before")
			require.ErrorIs(t, a.Report(t.Context()), transport.ErrClosed)
		})
	}
}

// An attempt that is on its way when the agent is stopped has ended when Run returns: if it came to
// the controller later than that of the next process, it would fence that.
func TestStopWaitsForTheDial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		slow := dialFunc(func(_ context.Context, h transport.Hello) (transport.Link, error) {
			time.Sleep(500 * time.Millisecond) // the request is under way, whatever the client does
			return c.Dial(context.WithoutCancel(t.Context()), h)
		})
		abandoning := dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			type answer struct {
				link transport.Link
				err  error
			}
			answers := make(chan answer, 1)
			go func() {
				l, err := slow(ctx, h)
				answers <- answer{l, err}
			}()
			select {
			case a := <-answers:
				return a.link, a.err
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		})
		first, err := agent.New(abandoning, agent.Options{VM: "vm-1", Instance: "first"})
		require.NoError(t, err)
		stop := run(t, first)
		synctest.Wait()
		require.NoError(t, stop())

		second, err := agent.New(c, agent.Options{VM: "vm-1", Instance: "second"})
		require.NoError(t, err)
		stop = run(t, second)
		time.Sleep(time.Minute)
		p, _ := c.Presence("vm-1")
		require.Equal(t, "second", p.Instance)
		require.True(t, p.Attached)
		require.NoError(t, stop())
	})
}

// But a controller that never answers does not keep a process from stopping.
func TestStopGivesUpADial(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a, err := agent.New(dialFunc(func(ctx context.Context, _ transport.Hello) (transport.Link, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		stop := run(t, a)
		synctest.Wait()
		began := time.Now()
		require.NoError(t, stop())
		require.Equal(t, time.Second, time.Since(began))
	})
}

// Finally functions run after the controller has the outcome on record, and not before.
func TestFinally(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		var mu sync.Mutex
		refusing := true
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			mu.Lock()
			refuse := refusing
			mu.Unlock()
			l, err := c.Dial(ctx, h)
			if err == nil && refuse {
				return mute{l}, nil
			}
			return l, err
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		powerOff := make(chan time.Time, 1)
		handled := make(chan struct{})
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Shutdown) (any, error) {
			job.Finally(func() { powerOff <- time.Now() })
			close(handled)
			return nil, nil
		}, agent.Policy{})
		stop := run(t, a)
		cmd, err := command.New(command.Shutdown{}, command.Options{})
		require.NoError(t, err)
		r, err := c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		<-handled
		time.Sleep(time.Minute)
		require.Empty(t, powerOff)
		mu.Lock()
		refusing = false
		mu.Unlock()
		_, err = r.Wait(t.Context())
		require.NoError(t, err)
		<-powerOff
		require.NoError(t, stop())
	})
}

// Run waits for Finally functions as it does for handlers.
func TestStopWaitsForFinally(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		a, err := agent.New(c, agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		began, ended := make(chan struct{}), false
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Shutdown) (any, error) {
			job.Finally(func() {
				close(began)
				time.Sleep(time.Second)
				ended = true
			})
			return nil, nil
		}, agent.Policy{})
		stop := run(t, a)
		cmd, err := command.New(command.Shutdown{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		<-began
		require.NoError(t, stop())
		require.True(t, ended)
	})
}

// So does Run where the outcome is recorded only while it stops.
func TestStopWaitsForFinallyOfLateAcks(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		a, err := agent.New(dialFunc(func(ctx context.Context, h transport.Hello) (transport.Link, error) {
			l, err := c.Dial(ctx, h)
			return slowAcks{l}, err
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		handled, ended := make(chan struct{}), false
		agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Shutdown) (any, error) {
			job.Finally(func() {
				time.Sleep(time.Second)
				ended = true
			})
			close(handled)
			return nil, nil
		}, agent.Policy{})
		stop := run(t, a)
		cmd, err := command.New(command.Shutdown{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), "vm-1", cmd)
		require.NoError(t, err)
		<-handled
		synctest.Wait()
		require.NoError(t, stop())
		require.True(t, ended)
	})
}

// slowAcks is a link whose acks take a second.
type slowAcks struct{ transport.Link }

func (l slowAcks) Ack(ctx context.Context, acks ...ack.Ack) error {
	time.Sleep(time.Second)
	return l.Link.Ack(ctx, acks...)
}

// mute is a link whose acks get lost, and end it.
type mute struct{ transport.Link }

func (mute) Ack(context.Context, ...ack.Ack) error { return errors.New("the connection broke") }
