package controller_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// BenchmarkCommand is what a command costs the controller from Send to its final ack, in-process, with so
// many under way.
func BenchmarkCommand(b *testing.B) {
	const underWay = 64
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	link, err := c.Dial(b.Context(), transport.Hello{VM: "vm-1", Instance: "i"})
	require.NoError(b, err)
	defer link.Close()
	acks := make([]ack.Ack, 0, underWay)
	receipts := make([]*controller.Receipt, 0, underWay)
	b.ReportAllocs()
	for left := b.N; left > 0; left -= len(receipts) {
		receipts, acks = receipts[:0], acks[:0]
		for range min(left, underWay) {
			cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
			require.NoError(b, err)
			r, err := c.Send(context.Background(), "vm-1", cmd)
			require.NoError(b, err)
			receipts = append(receipts, r)
		}
		for len(acks) < len(receipts) {
			page, err := link.Receive(context.Background())
			require.NoError(b, err)
			for _, d := range page {
				acks = append(acks, ack.Ack{CommandID: d.ID, Stage: ack.Succeeded, Attempt: d.Attempt, Time: time.Now()})
			}
		}
		require.NoError(b, link.Ack(context.Background(), acks...))
		for _, r := range receipts {
			_, err := r.Wait(context.Background())
			require.NoError(b, err)
		}
	}
}
