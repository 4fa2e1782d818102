package agent_test

import (
	"context"
	"strconv"
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

// endless is a controller that delivers the next page once it has heard of the end of the one before.
type endless struct {
	left, page, open int
	settled          chan struct{}
	done             chan struct{}
}

func (l *endless) Dial(context.Context, transport.Hello) (transport.Link, error) { return l, nil }

func (l *endless) Receive(ctx context.Context) ([]transport.Delivery, error) {
	if l.open > 0 {
		select {
		case <-l.settled:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	l.open = min(l.page, l.left)
	page := make([]transport.Delivery, l.open)
	for i := range page {
		id := "0197-" + strconv.Itoa(l.left)
		l.left--
		page[i] = transport.Delivery{Cursor: "e.1.0", Attempt: 1, Command: command.Command{
			ID: id, Type: command.TypeUpdateConfig, Parameters: command.Parameters(`{"config_key":"k","config_value":"v"}`),
		}}
	}
	if len(page) == 0 {
		close(l.done)
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return page, nil
}

func (l *endless) Ack(_ context.Context, acks ...ack.Ack) error {
	for _, a := range acks {
		if a.Stage.Final() {
			if l.open--; l.open == 0 {
				l.settled <- struct{}{}
			}
		}
	}
	return nil
}

func (l *endless) Report(context.Context, ...event.Event) error { return nil }
func (l *endless) Close() error                                 { return nil }
