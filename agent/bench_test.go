package agent_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
)

// BenchmarkCommand is what a command costs the agent from its delivery to its final ack, without a network,
// where so many come at once.
func BenchmarkCommand(b *testing.B) {
	l := &endless{left: b.N, page: 64, settled: make(chan struct{}, 1), done: make(chan struct{})}
	a, err := agent.New(l, agent.Options{VM: "vm-1"})
	require.NoError(b, err)
	agent.Handle(a, func(context.Context, *agent.Job, command.UpdateConfig) (any, error) { return nil, nil }, agent.Policy{})
	b.ReportAllocs()
	b.ResetTimer()
	ctx, stop := context.WithCancel(b.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	<-l.done
	b.StopTimer()
	stop()
	require.NoError(b, <-ended)
}

// endless is a controller that delivers page after page, each when the one before has been worked off.
type endless struct {
	left, page int
	open       atomic.Int64  // not acknowledged
	settled    chan struct{} // none is open; holds one
	done       chan struct{}
}

func (l *endless) Dial(context.Context, transport.Hello) (transport.Link, error) { return l, nil }

func (l *endless) Deliver(take func([]transport.Delivery)) {
	go func() {
		defer close(l.done)
		for l.left > 0 {
			take(l.next())
			<-l.settled
		}
	}()
}

func (l *endless) next() []transport.Delivery {
	page := make([]transport.Delivery, min(l.page, l.left))
	l.open.Store(int64(len(page)))
	for i := range page {
		id := "0197-" + strconv.Itoa(l.left)
		l.left--
		page[i] = transport.Delivery{Cursor: "e.1.0", Attempt: 1, Command: command.Command{
			ID: id, Type: command.TypeUpdateConfig, Parameters: command.Parameters(`{"config_key":"k","config_value":"v"}`),
		}}
	}
	return page
}

func (l *endless) Post(acks []ack.Ack, done func(error)) {
	for _, a := range acks {
		if a.Stage.Final() && l.open.Add(-1) == 0 {
			l.settled <- struct{}{}
		}
	}
	done(nil)
}

func (l *endless) Receive(ctx context.Context) ([]transport.Delivery, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func (l *endless) Ack(context.Context, ...ack.Ack) error        { return nil }
func (l *endless) ReadOn()                                      {}
func (l *endless) Report(context.Context, ...event.Event) error { return nil }
func (l *endless) Close() error                                 { return nil }
