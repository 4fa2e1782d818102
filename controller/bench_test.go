package controller_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
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

// BenchmarkGone is how much the controller keeps of a VM that has had one command and has gone, beside what the ledger
// does. Run it with many VMs: -benchtime 20000x.
func BenchmarkGone(b *testing.B) {
	kept := func(settle func(vm string, cmd command.Command)) int64 {
		before := heap()
		for i := range b.N {
			cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
			require.NoError(b, err)
			settle(fmt.Sprint("vm-", i), cmd)
		}
		return heap() - before
	}
	own := memory.New()
	entries := kept(func(vm string, cmd command.Command) {
		_, err := own.Append(b.Context(), vm, cmd, ledger.Limits{}, time.Now())
		require.NoError(b, err)
		_, err = own.Update(b.Context(), vm, ledger.Edit{ID: cmd.ID, Do: func(e *ledger.Entry) error {
			e.Delivered(1, time.Now())
			return e.Acked(ack.Ack{CommandID: cmd.ID, Stage: ack.Succeeded, Attempt: 1}, ledger.Speaker{}, time.Now())
		}})
		require.NoError(b, err)
	})
	c := controller.New(memory.New(), controller.Options{Access: controller.Unlimited()})
	defer c.Close()
	all := kept(func(vm string, cmd command.Command) {
		request := vm + " of a request that goes" // which nothing is to hold on to
		_, err := c.Send(b.Context(), vm, cmd)
		require.NoError(b, err)
		link, err := c.Dial(b.Context(), transport.Hello{VM: request[:len(vm)], Instance: uuid.NewString()})
		require.NoError(b, err)
		page, err := link.Receive(b.Context())
		require.NoError(b, err)
		require.NoError(b, link.Ack(b.Context(), ack.Ack{CommandID: page[0].ID, Stage: ack.Succeeded, Attempt: 1, Time: time.Now()}))
		require.NoError(b, link.Close())
	})
	runtime.KeepAlive(own)
	b.ReportMetric(float64(all-entries)/float64(b.N), "B/VM")
}

// heap is how much of it is in use.
func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
