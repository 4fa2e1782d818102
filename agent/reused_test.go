package agent_test

import (
	"context"
	"errors"
	"sync/atomic"
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

// front is the address of whichever controller runs.
type front struct {
	atomic.Pointer[controller.Controller]
}

func (f *front) Dial(ctx context.Context, h transport.Hello) (transport.Link, error) {
	return f.Load().Dial(ctx, h)
}

// start has another controller run, whose ledger is empty.
func (f *front) start(t *testing.T) {
	t.Helper()
	if old := f.Swap(controller.New(memory.New(), controller.Options{})); old != nil {
		require.NoError(t, old.Close())
	}
}

func (f *front) send(t *testing.T, kind command.Type, created time.Time) *controller.Receipt {
	t.Helper()
	cmd, err := command.NewRaw(kind, nil, command.Options{ID: "id of " + string(kind), CreatedAt: created})
	require.NoError(t, err)
	r, err := f.Load().Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	return r
}

func wants(t *testing.T, r *controller.Receipt, stage ack.Stage, code ack.Code, reason string) {
	t.Helper()
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, stage, e.State.Stage, e.Reason)
	require.Equal(t, code, e.Code)
	require.Contains(t, e.Reason, reason)
}

// An agent tells the commands of one ID apart where its controller has lost the ledger: also those of an earlier process, and
// of one that it still runs.
func TestIDReused(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f front
		journal, release := t.TempDir(), make(chan struct{})
		var ran atomic.Int32
		process := func(use func()) {
			a, err := agent.New(&f, agent.Options{VM: "vm-1", Journal: journal})
			require.NoError(t, err)
			a.HandleRaw("short", func(context.Context, *agent.Job) (any, error) {
				ran.Add(1)
				return nil, nil
			}, agent.Policy{})
			a.HandleRaw("long", func(context.Context, *agent.Job) (any, error) {
				ran.Add(1)
				<-release
				return nil, nil
			}, agent.Policy{Concurrent: true})
			ctx, stop := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- a.Run(ctx) }()
			use()
			stop()
			require.NoError(t, <-ended)
		}
		created := time.Now()
		later := created.Add(time.Millisecond)
		f.start(t)
		process(func() {
			wants(t, f.send(t, "short", created), ack.Succeeded, "", "")
			f.send(t, "long", created)
			time.Sleep(time.Second)
			require.EqualValues(t, 2, ran.Load())
			f.start(t)
			r := f.send(t, "long", later)
			wants(t, r, ack.Rejected, agent.CodeIDReused, "created at 2000-01-01T00:00:00Z and has not ended yet")
			close(release) // its end is no word on the other
			time.Sleep(time.Minute)
			wants(t, r, ack.Rejected, agent.CodeIDReused, "")
		})
		for range 2 { // the journal is written anew each time
			f.start(t)
			process(func() {
				wants(t, f.send(t, "short", later), ack.Rejected, agent.CodeIDReused, "created at 2000-01-01T00:00:00Z and has ended as succeeded")
				wants(t, f.send(t, "long", later), ack.Rejected, agent.CodeIDReused, "has ended as succeeded")
			})
		}
		f.start(t)
		process(func() {
			wants(t, f.send(t, "short", created), ack.Succeeded, "", "")
			wants(t, f.send(t, "long", created), ack.Succeeded, "", "")
		})
		require.EqualValues(t, 2, ran.Load())
		require.NoError(t, f.Load().Close())
	})
}

// An outcome that was not recorded before the ledger was lost is no word on another command of the same ID.
func TestEndOfAnother(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var f front
		f.start(t)
		a, err := agent.New(&f, agent.Options{VM: "vm-1", Journal: t.TempDir()})
		require.NoError(t, err)
		a.HandleRaw("x", func(context.Context, *agent.Job) (any, error) {
			f.start(t) // nobody hears of the end
			f.send(t, "x", time.Now().Add(time.Second))
			return nil, nil
		}, agent.Policy{})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		time.Sleep(time.Second)
		f.send(t, "x", time.Now())
		time.Sleep(time.Hour)
		wants(t, f.Load().Receipt("id of x"), ack.Rejected, agent.CodeIDReused, "has ended as succeeded")
		stop()
		require.NoError(t, <-ended)
		require.NoError(t, f.Load().Close())
	})
}

// deaf is a link that ends at the first ack.
type deaf struct{ *manual }

func (d deaf) Ack(context.Context, ...ack.Ack) error { return errors.New("cut") }

// Ends say of which command they are where another may have the ID by now: over a later link than the command came by, and
// when it comes again after its end. Others are short.
func TestEndsSayWhose(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		page, acks := make(chan []transport.Delivery), make(chan ack.Ack, 100)
		dials := 0
		a, err := agent.New(dialFunc(func(context.Context, transport.Hello) (transport.Link, error) {
			l := &manual{page: page, acks: acks, done: make(chan struct{})}
			if dials++; dials == 1 {
				return deaf{l}, nil
			}
			return l, nil
		}), agent.Options{VM: "vm-1"})
		require.NoError(t, err)
		a.HandleRaw("x", func(_ context.Context, job *agent.Job) (any, error) {
			if job.Command().ID == "slow" {
				time.Sleep(time.Minute)
			}
			return nil, nil
		}, agent.Policy{Concurrent: true})
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- a.Run(ctx) }()
		created := time.Now().UTC()
		delivery := func(id string, attempt int) transport.Delivery {
			return transport.Delivery{Cursor: "c", Attempt: attempt, Command: command.Command{ID: id, Type: "x", CreatedAt: created}}
		}
		says := func(id string, want time.Time) {
			t.Helper()
			for said := range acks {
				if said.CommandID == id && said.Stage.Final() {
					require.Equal(t, want, said.CreatedAt)
					return
				}
			}
		}
		page <- []transport.Delivery{delivery("quick", 1), delivery("slow", 1)}
		says("quick", created) // said in vain before
		says("slow", created)
		page <- []transport.Delivery{delivery("other", 1)}
		says("other", time.Time{})
		page <- []transport.Delivery{delivery("other", 2)}
		says("other", created)
		stop()
		require.NoError(t, <-ended)
	})
}
