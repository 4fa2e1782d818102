package controller_test

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
)

// live is the life of a VM: it comes, runs ten commands, and goes.
func live(ctx context.Context, c *controller.Controller, vm string) error {
	link, err := c.Dial(ctx, transport.Hello{VM: vm, Instance: "i"})
	if err != nil {
		return err
	}
	for range 10 {
		cmd, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
		if err != nil {
			return err
		}
		cmd.IdempotencyKey = cmd.ID
		if _, err := c.Send(ctx, vm, cmd); err != nil {
			return err
		}
		page, err := link.Receive(ctx)
		if err != nil {
			return err
		}
		for _, d := range page {
			if err := link.Ack(ctx, ack.Ack{CommandID: d.ID, Stage: ack.Succeeded, Attempt: d.Attempt, Time: time.Now()}); err != nil {
				return err
			}
		}
	}
	return link.Close()
}

// mayLeave is how many bytes a VM that has gone may leave in memory. It is less than any record of one, and more than what the
// room of maps comes to that grow.
const mayLeave = 128

// What came, ran ten commands and went leaves nothing behind, in the controller and in the ledger: no rows, and no memory. Maps
// keep the room that they once needed, and some grow now and then: what each of the last rounds adds is left by its VMs.
func TestEphemeralVMs(t *testing.T) {
	vms := 10_000
	if os.Getenv("MIGLINK_SOAK") != "" {
		vms = 100_000
	}
	run(t, controller.Options{Access: controller.Unlimited()}, func(w *world) {
		var after []int64
		few := vms / 4
		for round, n := range []int{vms, few, few, few} {
			for i := range n {
				require.NoError(w, live(w.Context(), w.c, fmt.Sprintf("vm-%d-%d", round, i)))
			}
			require.Len(w, w.listed(), n)
			time.Sleep(8 * day)
			rows, err := w.l.VMs(w.Context(), ledger.VMQuery{})
			require.NoError(w, err)
			require.Empty(w, rows)
			require.Empty(w, w.listed())
			heap() // the first collection moves what is in pools, the second frees it
			after = append(after, heap())
		}
		least := min(after[2]-after[1], after[3]-after[2])
		require.Less(w, least/int64(few), int64(mayLeave), "bytes that a VM has left; in use after each round: %d", after)
	})
}

// BenchmarkEphemeral is what is left of VMs that came, ran ten commands and went, once their commands are forgotten. Run it
// with many: -benchtime 100000x.
func BenchmarkEphemeral(b *testing.B) {
	for name, open := range map[string]func(b *testing.B) ledger.Ledger{
		"memory": func(*testing.B) ledger.Ledger { return memory.New() },
		"bolt": func(b *testing.B) ledger.Ledger {
			l, err := bolt.Open(b.TempDir(), bolt.Options{})
			require.NoError(b, err)
			return l
		},
	} {
		b.Run(name, func(b *testing.B) {
			l := open(b)
			defer l.Close()
			c := controller.New(l, controller.Options{Access: controller.Unlimited(), Retention: time.Second, Lease: time.Second})
			defer c.Close()
			require.NoError(b, live(b.Context(), c, "first")) // what is made once
			before := heap()
			var at sync.WaitGroup
			const atOnce = 64
			errs := make(chan error, atOnce)
			for worker := range atOnce {
				at.Go(func() {
					for i := worker; i < b.N; i += atOnce {
						if err := live(b.Context(), c, fmt.Sprint("vm-", i)); err != nil {
							errs <- err
							return
						}
					}
				})
			}
			at.Wait()
			b.StopTimer()
			require.Empty(b, errs)
			for {
				fleet, err := c.Fleet(b.Context())
				require.NoError(b, err)
				if len(fleet) == 0 {
					break
				}
				runtime.Gosched()
				time.Sleep(100 * time.Millisecond)
			}
			rows, err := l.VMs(b.Context(), ledger.VMQuery{})
			require.NoError(b, err)
			b.ReportMetric(float64(len(rows)), "rows")
			b.ReportMetric(float64(heap()-before)/float64(b.N), "B/VM")
		})
	}
}
