package brokertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// VM is whom all is sent to, where no other is named.
const VM = "vm-1"

// Controller returns one that ends with the test, and takes many commands at once.
func Controller(t testing.TB) *controller.Controller {
	t.Helper()
	c := controller.New(memory.New(), controller.Options{
		Window: 10_000, Limits: ledger.Limits{Commands: 10_000, Bytes: 1 << 30},
	})
	t.Cleanup(func() { c.Close() })
	return c
}

// Send sends VM a command.
func Send(t testing.TB, c *controller.Controller, p command.Params) *controller.Receipt {
	t.Helper()
	return SendTo(t, c, VM, p)
}

// SendTo sends a command to another.
func SendTo(t testing.TB, c *controller.Controller, vm string, p command.Params) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(p, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), vm, cmd)
	require.NoError(t, err)
	return r
}

// Succeed waits until all have.
func Succeed(t testing.TB, rs ...*controller.Receipt) {
	t.Helper()
	for _, r := range rs {
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
	}
}

// Dial dials a link of VM, for at most 20 s.
func Dial(t testing.TB, tr transport.Transport) (transport.Link, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return tr.Dial(ctx, transport.Hello{VM: VM, Instance: "i-1"})
}

// Agent is the agent of a VM, which drains as often as it is told to.
type Agent struct {
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error

	mu  sync.Mutex
	ran map[string]int
}

// Run starts the agent of VM.
func Run(t testing.TB, tr transport.Transport) *Agent {
	t.Helper()
	return RunVM(t, VM, tr)
}

// RunVM starts that of another.
func RunVM(t testing.TB, vm string, tr transport.Transport) *Agent {
	t.Helper()
	a, err := agent.New(tr, agent.Options{VM: vm, BackoffInitial: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond})
	require.NoError(t, err)
	r := &Agent{t: t, ended: make(chan error, 1), ran: map[string]int{}}
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.ran[job.Command().ID]++
		return nil, nil
	}, agent.Policy{})
	ctx, cancel := context.WithCancel(t.Context())
	r.cancel = cancel
	go func() { r.ended <- a.Run(ctx) }()
	return r
}

// Stop ends the agent, which must have run each of n commands once.
func (a *Agent) Stop(n int) {
	a.t.Helper()
	a.cancel()
	require.NoError(a.t, <-a.ended)
	a.mu.Lock()
	defer a.mu.Unlock()
	require.Len(a.t, a.ran, n)
	for id, times := range a.ran {
		require.Equal(a.t, 1, times, id)
	}
}

// Survive sends commands while fault is done to the way to the agent, some times; none is lost and none
// runs twice.
func Survive(t testing.TB, c *controller.Controller, tr transport.Transport, times int, fault func()) {
	t.Helper()
	a := Run(t, tr)
	var rs []*controller.Receipt
	for range times {
		for range 20 {
			rs = append(rs, Send(t, c, command.Drain{}))
		}
		Succeed(t, rs[0]) // the agent is there
		fault()
		rs = append(rs, Send(t, c, command.Drain{}))
	}
	Succeed(t, rs...)
	a.Stop(len(rs))
}
