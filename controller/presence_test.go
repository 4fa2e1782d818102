package controller_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

func (w *world) presence() controller.Presence {
	w.Helper()
	p, ok := w.c.Presence("vm-1")
	require.True(w, ok)
	return p
}

func TestPresenceIsALease(t *testing.T) {
	run(t, controller.Options{Lease: 30 * time.Second}, func(w *world) {
		_, ok := w.c.Presence("vm-1")
		require.False(w, ok)
		notices := w.c.Watch(w.Context())
		h := hello("a")
		h.Via = "ws"
		link := w.dial(h)
		n := <-notices
		require.Equal(w, controller.NoticeOnline, n.Kind)
		require.Equal(w, "ws", n.Presence.Transport)
		time.Sleep(time.Hour)
		require.True(w, w.presence().Attached, "an open link needs no renewal")

		require.NoError(w, link.Close())
		time.Sleep(29 * time.Second)
		require.True(w, w.presence().Online)
		up := w.dial(transport.Hello{VM: "vm-1", Instance: "a", Uplink: true})
		require.NoError(w, up.Report(w.Context()))
		time.Sleep(29 * time.Second)
		require.True(w, w.presence().Online, "a sign of life renews the lease")
		time.Sleep(time.Second)
		n = <-notices
		require.Equal(w, controller.NoticeOffline, n.Kind)
		require.False(w, w.presence().Online)
	})
}

// Each VM's lease runs out when it does, whatever others do meanwhile.
func TestLeasesOfMany(t *testing.T) {
	run(t, controller.Options{Lease: 30 * time.Second}, func(w *world) {
		notices := w.c.Watch(w.Context())
		began := time.Now()
		open := func(vm string) transport.Link {
			l := w.dial(transport.Hello{VM: vm, Instance: "a"})
			require.Equal(w, controller.NoticeOnline, (<-notices).Kind)
			return l
		}
		offline := func(after time.Duration, vms ...string) {
			w.Helper()
			var names []string
			for range vms {
				n := <-notices
				require.Equal(w, controller.NoticeOffline, n.Kind)
				require.Equal(w, after, time.Since(began))
				names = append(names, n.VM)
			}
			require.ElementsMatch(w, vms, names)
		}
		a, b, c, d, e := open("a"), open("b"), open("c"), open("d"), open("e")
		a.Close()
		b.Close()
		c.Close()
		time.Sleep(10 * time.Second)
		d.Close()
		require.NoError(w, w.dial(transport.Hello{VM: "a", Uplink: true}).Report(w.Context())) // the first of all becomes the last
		b = w.dial(transport.Hello{VM: "b", Instance: "a"})                                    // and one from between runs no more
		offline(30*time.Second, "c")
		e.Close()
		offline(40*time.Second, "a", "d")
		b.Close()
		offline(60*time.Second, "e")
		offline(70*time.Second, "b")
		time.Sleep(time.Hour)
		c = w.dial(transport.Hello{VM: "c", Instance: "a"}) // the first since there was none
		require.Equal(w, controller.NoticeOnline, (<-notices).Kind)
		c.Close()
		offline(70*time.Second+time.Hour+30*time.Second, "c")
	})
}

func TestFencing(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		notices := w.c.Watch(w.Context())
		old := w.dial(hello("old"))
		r := w.send("vm-1", command.Options{})
		w.receive(old, 1)
		newer := w.dial(hello("new"))
		require.NoError(w, newer.Report(w.Context()))
		_, err := old.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrSuperseded)
		require.True(w, transport.Terminal(err))
		require.ErrorIs(w, old.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Started}), transport.ErrSuperseded)
		_, err = w.c.Dial(w.Context(), hello("old"))
		require.ErrorIs(w, err, transport.ErrSuperseded)
		require.NoError(w, old.Close())
		require.True(w, w.presence().Attached, "the end of the old link takes nobody offline")
		require.Equal(w, []string{"old"}, w.presence().Fenced)
		require.Equal(w, []string{r.ID()}, ids(w.receive(newer, 1)))
		for n := range notices {
			if n.Kind == controller.NoticeFenced {
				require.Equal(w, "old", n.Old)
				require.Equal(w, "new", n.New)
				break
			}
		}
	})
}

func TestSameInstanceReplacesItsLink(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		first := w.dial(hello("a"))
		second := w.dial(hello("a"))
		_, err := first.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrReplaced)
		require.False(w, transport.Terminal(err))
		require.NoError(w, first.Close())
		r := w.send("vm-1", command.Options{})
		require.Equal(w, []string{r.ID()}, ids(w.receive(second, 1)))
		require.Empty(w, w.presence().Fenced)

		// An agent without instances takes over and is not fenced for good.
		w.dial(hello(""))
		_, err = second.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrReplaced)
		w.dial(hello("a"))
		w.dial(hello(""))
	})
}

func TestBrokenPromiseToBeHeardOf(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		h := hello("a")
		h.Alive = 10 * time.Second
		link := w.dial(h)
		up := w.dial(transport.Hello{VM: "vm-1", Instance: "a", Uplink: true})
		for range 5 {
			w.quiet(link, 20*time.Second)
			require.NoError(w, up.Report(w.Context()))
		}
		began := time.Now()
		_, err := link.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrUnavailable)
		require.Equal(w, 25*time.Second, time.Since(began))
	})
}

func TestLinkLifetime(t *testing.T) {
	run(t, controller.Options{LinkLifetime: time.Hour}, func(w *world) {
		link := w.dial(hello("a"))
		began := time.Now()
		_, err := link.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrMoved)
		require.GreaterOrEqual(w, time.Since(began), 30*time.Minute)
		require.LessOrEqual(w, time.Since(began), time.Hour)
	})
}

func TestShutdownSpreadsTheEnds(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		const links = 20
		ends := make(chan time.Duration, links)
		began := time.Now()
		for i := range links {
			h := hello("a")
			h.VM = string(rune('a' + i))
			h.Uplink = i%4 == 0
			link := w.dial(h)
			go func() {
				_, err := link.Receive(context.Background())
				if !errors.Is(err, transport.ErrUnavailable) || transport.RetryAfter(err) <= 0 {
					w.Errorf("ended with %v", err)
				}
				ends <- time.Since(began)
				_ = link.Close()
			}()
		}
		require.NoError(w, w.c.Shutdown(w.Context(), 10*time.Second))
		distinct := map[time.Duration]bool{}
		for range links {
			end := <-ends
			require.LessOrEqual(w, end, 10*time.Second)
			distinct[end] = true
		}
		require.Greater(w, len(distinct), links/2, "the ends are spread")
		_, err := w.c.Dial(w.Context(), hello("a"))
		require.ErrorIs(w, err, transport.ErrUnavailable)
		require.Positive(w, transport.RetryAfter(err))
		cmd, err := command.New(config("k"), command.Options{})
		require.NoError(w, err)
		_, err = w.c.Send(w.Context(), "vm-1", cmd)
		require.ErrorIs(w, err, transport.ErrUnavailable)
	})
}

func TestShutdownIsBounded(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		link := w.dial(hello("a")) // nobody closes it
		ctx, cancel := context.WithTimeout(w.Context(), 5*time.Second)
		defer cancel()
		require.ErrorIs(w, w.c.Shutdown(ctx, time.Hour), context.DeadlineExceeded)
		_, err := link.Receive(w.Context())
		require.ErrorIs(w, err, transport.ErrUnavailable)
	})
}

func TestEvents(t *testing.T) {
	var taken []event.Event
	full := transport.Errorf(transport.CodeQueueFull, "later")
	o := controller.Options{OnEvent: func(_ context.Context, vm string, e event.Event) error {
		if e.Type == "refuse" {
			return full
		}
		taken = append(taken, e)
		return nil
	}}
	run(t, o, func(w *world) {
		notices := w.c.Watch(w.Context())
		link := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		sent := event.Event{Type: event.VMStarted, VMID: "somebody else"}
		require.NoError(w, link.Report(w.Context(), sent))
		require.Len(w, taken, 1)
		require.Equal(w, "vm-1", taken[0].VMID, "the link's identity counts")
		require.Equal(w, "somebody else", sent.VMID, "the caller's event is its own")
		require.ErrorIs(w, link.Report(w.Context(), event.Event{Type: "refuse"}), transport.ErrQueueFull)
		require.ErrorIs(w, link.Report(w.Context(), event.Event{}), transport.ErrInvalid)
		require.Equal(w, controller.NoticeOnline, (<-notices).Kind)
		n := <-notices
		require.Equal(w, controller.NoticeEvent, n.Kind)
		require.Equal(w, event.VMStarted, n.Event.Type)
	})
}

func TestNoticesHoldNoParameters(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		notices := w.c.Watch(w.Context())
		w.send("vm-1", command.Options{})
		n := <-notices
		require.Equal(w, controller.NoticeCommand, n.Kind)
		require.Nil(w, n.Entry.Command.Parameters)
		w.receive(w.dial(hello("a")), 1)
		require.Equal(w, controller.NoticeOnline, (<-notices).Kind)
		n = <-notices
		require.Equal(w, ack.Delivered, n.Entry.State.Stage)
		require.Nil(w, n.Entry.Command.Parameters)
	})
}

func TestSlowWatcherIsToldAndLeft(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{EventsPerVM: controller.Rate{PerSecond: -1}}}, func(w *world) {
		notices := w.c.Watch(w.Context())
		link := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		for range 5000 {
			require.NoError(w, link.Report(w.Context(), event.Event{Type: "e"}))
		}
		var last controller.Notice
		for n := range notices {
			last = n
		}
		require.Equal(w, controller.NoticeLost, last.Kind)
	})
}

// What a watcher that does not read keeps in memory is bounded in bytes, however large the events and the results are.
func TestSlowWatcherKeepsFewBytes(t *testing.T) {
	run(t, controller.Options{Access: controller.Access{EventsPerVM: controller.Rate{PerSecond: -1}}}, func(w *world) {
		slow, quick := w.c.Watch(w.Context()), w.c.Watch(w.Context())
		link := w.dial(transport.Hello{VM: "vm-1", Uplink: true})
		large := json.RawMessage(`{"a":"` + strings.Repeat("x", event.MaxSize-10) + `"}`)
		seen := 0
		for range 1000 {
			require.NoError(w, link.Report(w.Context(), event.Event{Type: "e", Metadata: large}))
			for len(quick) > 0 {
				if n := <-quick; n.Kind == controller.NoticeEvent {
					seen++
				}
			}
		}
		require.Equal(w, 1000, seen, "who reads misses nothing")
		kept := 0
		var last controller.Notice
		for len(slow) > 0 {
			last = <-slow
			if last.Event != nil {
				kept += len(last.Event.Metadata)
			}
		}
		require.Equal(w, controller.NoticeLost, last.Kind)
		require.Greater(w, kept, 8<<20)
		require.LessOrEqual(w, kept, 16<<20)
	})
}

// What a presence tells of a hello everybody can read, whichever transport has brought it.
func TestNamesOfInstances(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		for _, bad := range []string{"\xff", "a\x00", "a\nb", "\x1b[2J", "\u0085", strings.Repeat("x", 257)} {
			for _, h := range []transport.Hello{{VM: "vm-1", Instance: bad}, {VM: "vm-1", Instance: "a", Via: bad}} {
				_, err := w.c.Dial(w.Context(), h)
				require.ErrorIs(w, err, transport.ErrInvalid, "%q", bad)
			}
		}
		_, known := w.c.Presence("vm-1")
		require.False(w, known)
		w.dial(transport.Hello{VM: "vm-1", Instance: "é 1", Via: "ws"})
	})
}

// How far a VM's clock is ahead is that of the latest dial, and unknown where that has not said its time.
func TestClockSkew(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		for _, skew := range []time.Duration{3 * time.Second, -24 * time.Hour, 0} {
			h := hello("a")
			h.Time = time.Now().Add(skew)
			w.dial(h)
			require.Equal(w, skew, time.Duration(w.presence().ClockSkew))
		}
		h := hello("a")
		h.Time = time.Now().Add(time.Second)
		w.dial(h)
		w.dial(hello("a"))
		require.Zero(w, w.presence().ClockSkew)
	})
}
