package controller_test

import (
	"context"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// wired is a hello that has come over a network.
var wired = transport.Hello{VM: "vm-1", Instance: "a", Via: "ws"}

// poll is one request of a client that polls: what it gets at once.
func (w *world) poll(h transport.Hello) []transport.Delivery {
	w.Helper()
	h.Heard.Poll, h.Via = true, "longpoll"
	l := w.dial(h)
	defer l.Close()
	ctx, cancel := context.WithTimeout(w.Context(), time.Millisecond)
	defer cancel()
	page, err := l.Receive(ctx)
	if err != nil {
		require.ErrorIs(w, err, context.DeadlineExceeded)
	}
	return page
}

// deliveries counts what comes over a link within d, of which nothing is said.
func (w *world) deliveries(l transport.Link, d time.Duration) (n int) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), d)
	defer cancel()
	for {
		page, err := l.Receive(ctx)
		if err != nil {
			require.ErrorIs(w, err, context.DeadlineExceeded)
			return n
		}
		n += len(page)
	}
}

func (w *world) lives(r *controller.Receipt) {
	w.Helper()
	e, err := w.c.Get(w.Context(), r.ID())
	require.NoError(w, err)
	require.False(w, e.State.Settled(), "it is %s, %s: %s", e.State.Stage, e.Code, e.Reason)
}

func (w *world) dead(r *controller.Receipt, code ack.Code) ledger.Entry {
	w.Helper()
	e, err := w.c.Get(w.Context(), r.ID())
	require.NoError(w, err)
	require.Equal(w, ack.Dead, e.State.Stage, "%+v", e.Unheard)
	require.Equal(w, code, e.Code)
	return e
}

// Without any sign that a link passes something a command is not given up, and does not come without end either.
func TestNoEvidence(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		l := w.dial(wired)
		n := w.deliveries(l, time.Hour)
		require.Greater(w, n, 10)
		require.Less(w, n, 30)
		w.lives(r)
		w.ack(l, r.ID(), ack.Received)
		w.ack(l, r.ID(), ack.Succeeded)
	})
}

// What has arrived counts once the agent could have answered, and is given up after as many deliveries as are allowed, over
// restarts of the controller, too.
func TestExhausted(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		h, came := wired, 0
		link := func() transport.Link {
			l := w.dial(h)
			witness := l.(transport.Witness)
			witness.Ask(func() { go witness.Arrived(math.MaxUint64) })
			return l
		}
		l := link()
		for {
			ctx, cancel := context.WithTimeout(w.Context(), time.Minute)
			page, err := l.Receive(ctx)
			cancel()
			if err != nil {
				break
			}
			h.After = page[0].Cursor
			if came++; came%4 == 0 {
				l.Close()
				w.restart(time.Second, controller.Options{})
				l = link()
			}
			require.Less(w, came, 30)
		}
		require.GreaterOrEqual(w, came, 10)
		e := w.dead(r, ledger.CodeExhausted)
		require.Contains(w, e.Reason, "without an answer")
	})
}

// Where the way up shows nothing the agent may have answered: its cursor alone does not count.
func TestAnswersSwallowed(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		h := wired
		for range 30 {
			l := w.dial(h)
			ctx, cancel := context.WithTimeout(w.Context(), 45*time.Second)
			if page, err := l.Receive(ctx); err == nil {
				h.After = page[0].Cursor
				<-ctx.Done()
			}
			cancel()
			l.Close()
			w.lives(r)
		}
		h.Heard.Unsaid = true
		for range 300 {
			w.poll(h)
			time.Sleep(10 * time.Second)
		}
		w.lives(r)
		h.Heard.Unsaid = false
		for range 300 {
			w.poll(h)
			time.Sleep(10 * time.Second)
		}
		w.dead(r, ledger.CodeExhausted)
	})
}

// A client without cursors shows by its next request that it has got the answer to the one before, and has as much time for
// each answer as any other.
func TestNoCursors(t *testing.T) {
	t.Parallel()
	for _, instance := range []string{"", "a"} {
		run(t, controller.Options{Access: controller.Unlimited()}, func(w *world) {
			h := transport.Hello{VM: "vm-1", Instance: instance, Heard: transport.Heard{NoCursor: true}}
			r := w.send("vm-1", command.Options{})
			for range 280 { // one second short of ten deadlines
				w.poll(h)
				w.lives(r)
				time.Sleep(time.Second)
			}
			for range 60 {
				w.poll(h)
				time.Sleep(time.Second)
			}
			w.dead(r, ledger.CodeExhausted)

			r = w.send("vm-1", command.Options{})
			for range 1000 {
				for _, d := range w.poll(h) {
					up := w.dial(transport.Hello{VM: "vm-1", Instance: instance, Uplink: true})
					w.ack(up, d.ID, ack.Started)
					up.Close()
				}
				time.Sleep(20 * time.Millisecond)
			}
			w.lives(r)
		})
	}
}

// The end of links that worked is laid on what they were to pass then, alone: over restarts of the controller, and until it
// arrives after all.
func TestUndeliverable(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{}, func(w *world) {
		small := w.send("vm-1", command.Options{})
		l := w.dial(wired)
		h := wired
		h.After = w.receive(l, 1)[0].Cursor
		w.ack(l, small.ID(), ack.Succeeded)
		r, behind := w.send("vm-1", command.Options{}), w.send("vm-1", command.Options{})
		l.Close()
		fails := func() (first string) {
			l := w.dial(h)
			defer l.Close()
			witness := l.(transport.Witness)
			witness.Ask(func() { go witness.Arrived(0) })
			page, err := l.Receive(w.Context())
			require.NoError(w, err)
			return page[0].ID
		}
		for i := range 11 {
			if i%4 == 3 {
				w.restart(time.Second, controller.Options{})
			}
			require.Equal(w, r.ID(), fails())
			w.lives(r)
		}
		l = w.dial(h) // it arrives
		w.receive(l, 1)
		l.Close()
		got := h
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.NotZero(w, e.Misses())
		got.After = cursorOf(w, h, e.Seq)
		w.dial(got).Close()
		e, err = w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Zero(w, e.Misses())

		n := 0
		for fails() == r.ID() {
			n++
			w.lives(r)
		}
		require.Equal(w, 11, n, "the first time nothing had passed")
		require.Equal(w, behind.ID(), fails(), "it waits no more")
		e = w.dead(r, ledger.CodeUndeliverable)
		require.Contains(w, e.Reason, fmt.Sprintf("10 links over ws that worked have ended when it was sent: the command has %d bytes", len(e.Command.Parameters)))
	})
}

func cursorOf(w *world, h transport.Hello, seq uint64) transport.Cursor {
	return transport.Cursor(fmt.Sprintf("%s.%d.0", w.l.Epoch(), seq))
}

// Where nothing passes any link, the links' ends are not laid on what they were to pass.
func TestDeadPath(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{}, func(w *world) {
		r := w.send("vm-1", command.Options{})
		for range 100 {
			l := w.dial(wired)
			require.LessOrEqual(w, w.deliveries(l, 35*time.Second), 2)
			l.Close()
			w.lives(r)
		}
	})
}

// An ack shows that what was handed out before the command has arrived, too.
func TestLaterAnswered(t *testing.T) {
	t.Parallel()
	run(t, controller.Options{MaxAttempts: 2}, func(w *world) {
		l := w.dial(wired)
		silent := w.send("vm-1", command.Options{})
		w.receive(l, 1)
		time.Sleep(31 * time.Second)
		w.receive(l, 1)
		time.Sleep(31 * time.Second)
		w.quiet(l, 20*time.Second)
		w.lives(silent)
		other := w.send("vm-1", command.Options{})
		w.receive(l, 1)
		w.ack(l, other.ID(), ack.Received)
		w.quiet(l, 29*time.Second)
		w.dead(silent, ledger.CodeExhausted)
		w.ack(l, other.ID(), ack.Succeeded)
	})
}
