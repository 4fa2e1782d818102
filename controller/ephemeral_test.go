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

// What came, ran ten commands and went leaves nothing behind, in the controller and in the ledger.
func TestEphemeralVMs(t *testing.T) {
	vms := 10_000
	if os.Getenv("MIGLINK_SOAK") != "" {
		vms = 100_000
	}
	run(t, controller.Options{Access: controller.Unlimited()}, func(w *world) {
		for i := range vms {
			require.NoError(w, live(w.Context(), w.c, fmt.Sprint("vm-", i)))
		}
		require.Len(w, w.listed(), vms)
		time.Sleep(8 * day)
		rows, err := w.l.VMs(w.Context(), ledger.VMQuery{})
		require.NoError(w, err)
		require.Empty(w, rows)
		require.Empty(w, w.listed())
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
