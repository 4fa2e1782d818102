package controller_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// pages collects a list, and looks at each page of it.
func pages[T any](t testing.TB, q controller.Query, get func(context.Context, controller.Query) (controller.Page[T], error)) (all []T) {
	t.Helper()
	limit := cmp.Or(q.Limit, controller.DefaultPage)
	for {
		page, err := get(t.Context(), q)
		require.NoError(t, err, "%+v", q)
		require.LessOrEqual(t, len(page.Items), limit, "%+v", q)
		all = append(all, page.Items...)
		if page.Next == "" {
			return all
		}
		require.NotEqual(t, q.After, page.Next, "it goes on where it was")
		q.After = page.Next
	}
}

// A list in pages is what it is in one, whatever its pages' size, and has what was asked for.
func TestPages(t *testing.T) {
	t.Parallel()
	seed := rand.Uint64()
	t.Log("seed", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	type sent struct{ vm, id, state string }
	var vms []string
	online := map[string]bool{}
	var commands []sent
	for i := range 150 {
		vm := fmt.Sprintf("%s-%d", []string{"pool", "ci/pool", "z@1"}[i%3], i)
		vms = append(vms, vm)
		var link transport.Link
		if i%4 > 0 {
			var err error
			link, err = c.Dial(t.Context(), transport.Hello{VM: vm, Instance: "a"})
			require.NoError(t, err)
			defer link.Close()
			online[vm] = true
		}
		for n := range 1 + random.IntN(8) {
			cmd, err := command.New(command.Drain{}, command.Options{Urgent: n%3 == 2})
			require.NoError(t, err)
			_, err = c.Send(t.Context(), vm, cmd)
			require.NoError(t, err)
			state := ack.Queued
			if link != nil {
				_, err := link.Receive(t.Context())
				require.NoError(t, err)
				state = []ack.Stage{ack.Started, ack.Succeeded, ack.Received}[n%3]
				require.NoError(t, link.Ack(t.Context(), ack.Ack{CommandID: cmd.ID, Stage: state}))
			}
			if !state.Final() {
				commands = append(commands, sent{vm, cmd.ID, string(state)})
			}
		}
	}
	slices.Sort(vms)
	slices.SortStableFunc(commands, func(a, b sent) int { return strings.Compare(a.vm, b.vm) })
	for _, limit := range []int{0, 1, 2, 7, 149, 150, 151, 1000} {
		for match, matches := range map[string]func(vm string) bool{
			"": func(string) bool { return true }, "**": func(string) bool { return true }, "none": func(string) bool { return false },
			"pool-*": func(vm string) bool { return strings.HasPrefix(vm, "pool") }, "*": func(vm string) bool { return !strings.Contains(vm, "/") },
		} {
			for _, state := range []string{"", controller.StateOnline, controller.StateOffline} {
				q := controller.Query{Limit: limit, Match: match, State: state}
				var got, want []string
				for _, p := range pages(t, q, c.VMs) {
					got = append(got, p.VM)
				}
				for _, vm := range vms {
					if matches(vm) && (state == "" || online[vm] == (state == controller.StateOnline)) {
						want = append(want, vm)
					}
				}
				require.Equal(t, want, got, "%+v", q)
			}
			for _, state := range []string{"", string(ack.Started), string(ack.Queued), string(ack.Progress)} {
				q := controller.Query{Limit: limit, Match: match, State: state}
				var got, want []sent
				for _, e := range pages(t, q, c.Unsettled) {
					got = append(got, sent{e.VM, e.Command.ID, string(e.State.Stage)})
				}
				for _, s := range commands {
					if matches(s.vm) && (state == "" || state == s.state) {
						want = append(want, s)
					}
				}
				require.Equal(t, want, got, "%+v", q)
			}
		}
	}
}

func TestQueriesAreChecked(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		for says, q := range map[string]controller.Query{
			"limit is -1, 1 to 1000":   {Limit: -1},
			"limit is 1001, 1 to 1000": {Limit: 1001},
			"after":                    {After: strings.Repeat("1", 257)},
			"match: ":                  {Match: strings.Repeat("a", 129)},
			`state is "gone"`:          {State: "gone"},
		} {
			_, err := w.c.VMs(w.Context(), q)
			require.ErrorIs(w, err, transport.ErrInvalid)
			require.ErrorContains(w, err, says)
			_, err = w.c.Unsettled(w.Context(), q)
			require.ErrorIs(w, err, transport.ErrInvalid)
			require.ErrorContains(w, err, says)
		}
		for _, q := range []controller.Query{{State: "succeeded"}, {State: "online"}, {After: "vm-1"}, {After: "x@vm-1"}, {After: "1@"}, {After: "-1@a"}} {
			_, err := w.c.Unsettled(w.Context(), q)
			require.ErrorIs(w, err, transport.ErrInvalid, "%+v", q)
		}
		_, err := w.c.VMs(w.Context(), controller.Query{State: "queued"})
		require.ErrorContains(w, err, "of a VM it is online, detached or offline")
	})
}

// counted is a ledger that notes how much it is asked for at a time, and in all.
type counted struct {
	ledger.Ledger
	mu        sync.Mutex
	most, all int
}

func (l *counted) VMs(ctx context.Context, q ledger.VMQuery) ([]ledger.VM, error) {
	vms, err := l.Ledger.VMs(ctx, q)
	l.note(len(vms))
	return vms, err
}

func (l *counted) Pending(ctx context.Context, vm string, lane ledger.Lane, after uint64, limit int) ([]*ledger.Entry, error) {
	entries, err := l.Ledger.Pending(ctx, vm, lane, after, limit)
	l.note(len(entries))
	return entries, err
}

func (l *counted) note(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.most = max(l.most, n)
	l.all += n
}

func (l *counted) reset() (most, all int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	most, all = l.most, l.all
	l.most, l.all = 0, 0
	return most, all
}

// However large a fleet is, and however little of it is asked for, a page takes so much of it and no more.
func TestPagesAreBounded(t *testing.T) {
	t.Parallel()
	const vms = 15_000
	l := &counted{Ledger: memory.New()}
	c := controller.New(l, controller.Options{Limits: ledger.Limits{Commands: -1, Bytes: -1}})
	defer c.Close()
	send := func(vm string) {
		cmd, err := command.New(command.Drain{}, command.Options{})
		require.NoError(t, err)
		_, err = c.Send(t.Context(), vm, cmd)
		require.NoError(t, err)
	}
	for i := range vms {
		send(fmt.Sprintf("vm-%05d", i))
		send("a")
	}
	send("z")
	l.reset()
	for _, q := range []controller.Query{{}, {Limit: 1000}, {Match: "z"}, {State: controller.StateOnline}, {Match: "none"}} {
		page, err := c.VMs(t.Context(), q)
		require.NoError(t, err)
		require.NotEmpty(t, page.Next, "%+v", q)
		most, all := l.reset()
		require.LessOrEqual(t, most, 1001, "%+v", q)
		require.LessOrEqual(t, all, 11_000, "%+v", q)
	}
	for _, q := range []controller.Query{{}, {Limit: 1000}, {Match: "z"}, {State: string(ack.Started)}, {Match: "none"}} {
		page, err := c.Unsettled(t.Context(), q)
		require.NoError(t, err)
		require.NotEmpty(t, page.Next, "%+v", q)
		most, all := l.reset()
		require.LessOrEqual(t, most, 1001, "%+v", q)
		require.LessOrEqual(t, all, 13_000, "%+v", q)
	}
	require.Len(t, pages(t, controller.Query{Match: "z"}, c.VMs), 1)
	require.Len(t, pages(t, controller.Query{Match: "z"}, c.Unsettled), 1)
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, vms+2)
}

// A VM whose agent has stopped is told from one that has a link, and from one that was not heard of for its lease.
func TestStates(t *testing.T) {
	run(t, controller.Options{Lease: 30 * time.Second}, func(w *world) {
		states := func() (states []string) {
			for _, state := range []string{controller.StateOnline, controller.StateDetached, controller.StateOffline} {
				page, err := w.c.VMs(w.Context(), controller.Query{State: state})
				require.NoError(w, err)
				for _, p := range page.Items {
					require.Equal(w, state, p.State())
					states = append(states, state)
				}
			}
			return states
		}
		link := w.dial(hello("a"))
		require.Equal(w, []string{controller.StateOnline}, states())
		require.NoError(w, link.Close())
		require.Equal(w, []string{controller.StateDetached}, states())
		time.Sleep(30 * time.Second)
		synctest.Wait()
		require.Equal(w, []string{controller.StateOffline}, states())
	})
}

// A VM is known once anything was heard of it, also by a controller that has been started since.
func TestKnown(t *testing.T) {
	run(t, controller.Options{}, func(w *world) {
		known := func(c *controller.Controller, vm string) bool {
			known, err := c.Known(w.Context(), vm)
			require.NoError(w, err)
			return known
		}
		require.False(w, known(w.c, "vm-1"))
		r := w.send("vm-1", command.Options{})
		ended := w.send("vm-1", command.Options{TTL: time.Second})
		time.Sleep(time.Minute)
		require.Equal(w, ack.Expired, w.stage(ended.ID()))
		require.False(w, known(w.c, "vm-1"), "what the controller concludes was not heard")
		link := w.dial(hello("a"))
		require.True(w, known(w.c, "vm-1"))
		w.receive(link, 1)
		require.NoError(w, link.Ack(w.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Received}))
		w.c.Close()
		next := controller.New(w.l, controller.Options{})
		defer next.Close()
		require.True(w, known(next, "vm-1"))
		require.False(w, known(next, "vm-2"))
	})
}
