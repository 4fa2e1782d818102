package agent_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/logfile"
	"github.com/miglink/miglink/ledger"
)

// disks are the directories of full disks.
var disks struct {
	sync.Mutex
	full map[string]bool
}

func init() {
	disks.full = map[string]bool{}
	logfile.LimitRoom(func(path string) error {
		disks.Lock()
		defer disks.Unlock()
		for dir := range disks.full {
			if strings.HasPrefix(path, dir) {
				return syscall.ENOSPC
			}
		}
		return nil
	})
}

func fill(dir string, full bool) {
	disks.Lock()
	defer disks.Unlock()
	delete(disks.full, dir)
	if full {
		disks.full[dir] = true
	}
}

// Nothing is settled for want of disk: it waits, in order, and runs once there is room, without a restart. What is said of
// commands that are held is journalled all the same, a cancel needs no disk, and an agent starts on a full one.
func TestFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		a := w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		running := w.send(key("running", "30s"), command.Options{})
		time.Sleep(time.Second)
		fill(dir, true)
		w.Cleanup(func() { fill(dir, false) })
		// There is some room beyond the reserve, which large ones take.
		var rs []*controller.Receipt
		for i := range 20 {
			c := key(fmt.Sprint(i), "")
			c.ConfigValue = strings.Repeat("x", 100<<10)
			rs = append(rs, w.send(c, command.Options{}))
		}
		canceled := w.send(key("canceled", ""), command.Options{})
		behind := w.send(key("behind", ""), command.Options{})
		w.settled(running, ack.Succeeded, "")
		time.Sleep(time.Minute)
		e, err := w.c.Get(w.Context(), behind.ID())
		require.NoError(w, err)
		require.False(w, e.State.Settled(), "%+v", e.State)
		_, err = w.c.Cancel(w.Context(), canceled.ID(), "not needed")
		require.NoError(w, err)
		w.settled(canceled, ack.Canceled, "not needed")
		urgent := w.send(command.UpdateConfig{ConfigKey: "urgent", ConfigValue: strings.Repeat("x", 200<<10)}, urgent)
		time.Sleep(time.Minute)
		e, err = w.c.Get(w.Context(), urgent.ID())
		require.NoError(w, err)
		require.Contains(w, fmt.Sprint(e.History), ack.CodeNoDisk)
		require.False(w, e.State.Settled())

		fill(dir, false)
		want := "running"
		for i, r := range rs {
			w.settled(r, ack.Succeeded, "")
			want += fmt.Sprint(" ", i)
		}
		w.settled(behind, ack.Succeeded, "")
		w.settled(urgent, ack.Succeeded, "")
		require.Equal(w, want+" behind", strings.ReplaceAll(w.sofar(), " urgent", ""))

		fill(dir, true)
		require.NoError(w, stop())
		a = w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		stop = run(w.T, a)
		var more []*controller.Receipt
		for i := range 10 {
			c := key(fmt.Sprint("more-", i), "")
			c.ConfigValue = strings.Repeat("x", 100<<10)
			more = append(more, w.send(c, command.Options{}))
		}
		time.Sleep(time.Minute)
		fill(dir, false)
		for _, r := range more {
			w.settled(r, ack.Succeeded, "")
		}
		require.Equal(w, 1, strings.Count(w.sofar(), "more-9"))
		require.NoError(w, stop())
	})
}

// A start for which the disk has no room defers its command, as its arrival would.
func TestStartOnAFullDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		a := w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		agent.Handle(a, func(_ context.Context, _ *agent.Job, d command.Drain) (any, error) {
			time.Sleep(10 * time.Second)
			return strings.Repeat("x", len(d.Reason)), nil
		}, agent.Policy{Concurrent: true})
		stop := run(w.T, a)
		w.send(key("running", "20s"), command.Options{})
		var next, beside []*controller.Receipt
		want := "running"
		for i := range 20 {
			next = append(next, w.send(key(fmt.Sprint(i), ""), command.Options{}))
			want += fmt.Sprint(" ", i)
		}
		for _, size := range []int{60 << 10, 4 << 10, 1} { // their ends take the reserve, and almost all of it
			for range 16 {
				beside = append(beside, w.send(command.Drain{Reason: strings.Repeat("x", size)}, command.Options{}))
			}
		}
		time.Sleep(time.Second)
		fill(dir, true)
		w.Cleanup(func() { fill(dir, false) })
		time.Sleep(time.Minute)
		last := next[len(next)-1]
		e, err := w.c.Get(w.Context(), last.ID())
		require.NoError(w, err)
		require.False(w, e.State.Settled(), "%+v", e.State)
		deferred := 0
		for _, r := range next {
			if e, err = w.c.Get(w.Context(), r.ID()); e.Code == ack.CodeNoDisk {
				deferred++
			}
			require.NoError(w, err)
		}
		require.Equal(w, 1, deferred, "the others keep their places behind it")

		fill(dir, false)
		for _, r := range append(next, beside...) {
			w.settled(r, ack.Succeeded, "")
		}
		require.NoError(w, stop())
		require.Equal(w, want, w.sofar())
	})
}

// A command that waited for the disk starts at the next attempt, as after any deferral, so that its start is recorded.
func TestStartAfterNoDisk(t *testing.T) {
	inWorld(t, func(w *world) {
		o := agent.Options{Journal: w.TempDir()}
		fill(o.Journal, true)
		w.Cleanup(func() { fill(o.Journal, false) })
		a := w.agent(o)
		w.config(a, agent.Policy{Confirm: true})
		stop := run(w.T, a)
		c := key("1", strings.Repeat("x", 200<<10))
		r := w.send(c, command.Options{})
		time.Sleep(time.Second)
		e, err := w.c.Get(w.Context(), r.ID())
		require.NoError(w, err)
		require.Equal(w, ack.CodeNoDisk, e.Code)
		fill(o.Journal, false)
		e = w.settled(r, ack.Succeeded, "")
		require.True(w, slices.ContainsFunc(e.History, func(s ledger.Step) bool { return s.Stage == ack.Started }), "%+v", e.History)
		require.NoError(w, stop())
	})
}

// What waits for the disk is received when it is written, and what comes when the disk is full again waits again. The
// controller's presence of the VM says so.
func TestDiskFillsAgain(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		a := w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		w.Cleanup(func() { fill(dir, false) })
		noDisk := func() bool {
			p, ok := w.c.Presence("vm-1")
			require.True(w, ok)
			return p.NoDisk
		}
		for round := range 3 {
			running := w.send(key(fmt.Sprint("running-", round), "20s"), command.Options{})
			time.Sleep(time.Second)
			require.False(w, noDisk())
			fill(dir, true)
			var rs []*controller.Receipt
			for i := range 20 {
				c := key(fmt.Sprint(round, "-", i), "")
				c.ConfigValue = strings.Repeat("x", 100<<10)
				rs = append(rs, w.send(c, command.Options{}))
			}
			time.Sleep(time.Minute) // the first that the disk has no room for is deferred when it is its turn
			require.True(w, slices.ContainsFunc(rs, func(r *controller.Receipt) bool {
				e, err := w.c.Get(w.Context(), r.ID())
				require.NoError(w, err)
				return strings.Contains(fmt.Sprint(e.History), string(ack.CodeNoDisk))
			}))
			require.True(w, noDisk())
			fill(dir, false)
			w.settled(running, ack.Succeeded, "")
			for _, r := range rs {
				w.settled(r, ack.Succeeded, "")
			}
			require.False(w, noDisk())
		}
		require.NoError(w, stop())
	})
}

// What had no room while a command was running, and has it now, is received: it is the controller's turn to wait.
func TestReceivedOnceThereIsRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		a := w.agent(agent.Options{Journal: dir})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		running := w.send(key("running", "10m"), command.Options{})
		time.Sleep(time.Second)
		fill(dir, true)
		w.Cleanup(func() { fill(dir, false) })
		var rs []*controller.Receipt
		for i := range 3 { // beyond the reserve
			c := key(fmt.Sprint(i), "")
			c.ConfigValue = strings.Repeat("x", 200<<10)
			rs = append(rs, w.send(c, command.Options{}))
		}
		time.Sleep(time.Second)
		stages := func() (stages []ack.Stage) {
			for _, r := range rs {
				e, err := w.c.Get(w.Context(), r.ID())
				require.NoError(w, err)
				stages = append(stages, e.State.Stage)
			}
			return stages
		}
		require.Contains(w, stages(), ack.Deferred)
		fill(dir, false)
		time.Sleep(time.Minute)
		require.Equal(w, []ack.Stage{ack.Received, ack.Received, ack.Received}, stages())
		for _, r := range append(rs, running) {
			w.settled(r, ack.Succeeded, "")
		}
		require.NoError(w, stop())
	})
}

// Of commands that come together, one for which there is no room keeps those after it in its lane out of the journal: they
// would run before it, should this process be killed now.
func TestNoneIsJournalledBeforeOneWithoutRoom(t *testing.T) {
	inWorld(t, func(w *world) {
		dir := w.TempDir()
		sized := func(name string, bytes int) command.UpdateConfig {
			c := key(name, "")
			c.ConfigValue = strings.Repeat("x", bytes)
			return c
		}
		first := w.send(key("first", "2m"), command.Options{})
		rs := []*controller.Receipt{
			first, w.send(sized("fits", 200<<10), command.Options{}),
			w.send(sized("has-no-room", 150<<10), command.Options{}), w.send(sized("is-behind", 1), command.Options{}),
		}
		a := w.agent(agent.Options{Journal: dir, JournalLimit: 300 << 10})
		w.config(a, agent.Policy{})
		stop := run(w.T, a)
		time.Sleep(time.Minute)
		b, err := os.ReadFile(filepath.Join(dir, "journal"))
		require.NoError(w, err)
		require.Contains(w, string(b), `"fits"`)
		require.NotContains(w, string(b), `"has-no-room"`)
		require.NotContains(w, string(b), `"is-behind"`)
		for _, r := range rs {
			w.settled(r, ack.Succeeded, "")
		}
		require.Equal(w, "first fits has-no-room is-behind", w.sofar())
		require.NoError(w, stop())
	})
}
