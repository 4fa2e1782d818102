package bolt_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
)

// BenchmarkCommand is what a command costs the ledger on all of its way, with so many under way to each of so
// many VMs: each is appended by itself, and what waits for a VM is handed out and settled together.
func BenchmarkCommand(b *testing.B) {
	for _, size := range []struct{ vms, window int }{{1, 1}, {8, 8}, {100, 64}} {
		b.Run(fmt.Sprintf("vms=%d/window=%d", size.vms, size.window), func(b *testing.B) {
			l, err := bolt.Open(b.TempDir(), bolt.Options{})
			require.NoError(b, err)
			defer l.Close()
			b.ReportAllocs()
			g, ctx := errgroup.WithContext(b.Context())
			for vm := range size.vms {
				n := b.N / size.vms
				if vm < b.N%size.vms {
					n++
				}
				g.Go(func() error { return throughVM(ctx, l, fmt.Sprint("vm-", vm), size.window, n) })
			}
			require.NoError(b, g.Wait())
		})
	}
}

// throughVM has n commands go all their way to one VM.
func throughVM(ctx context.Context, l ledger.Ledger, vm string, window, n int) error {
	g, ctx := errgroup.WithContext(ctx)
	appended := make(chan string, window)
	settled := make(chan struct{}, window)
	for i := range window {
		g.Go(func() error {
			for range (n + i) / window { // n in all
				c, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: "v"}, command.Options{})
				if err == nil {
					_, err = l.Append(ctx, vm, c, ledger.Limits{}, time.Now())
				}
				if err != nil {
					return err
				}
				appended <- c.ID
				<-settled
			}
			return nil
		})
	}
	for left := n; left > 0; {
		ids := []string{<-appended}
		for len(appended) > 0 {
			ids = append(ids, <-appended)
		}
		l.Note(vm, edits(ids, func(e *ledger.Entry) error {
			e.Delivered(1, time.Now())
			return nil
		})...)
		if _, err := l.Update(ctx, vm, edits(ids, func(e *ledger.Entry) error {
			return e.Acked(ack.Ack{Stage: ack.Succeeded, Attempt: 1}, ledger.Speaker{}, time.Now())
		})...); err != nil {
			return err
		}
		for range ids {
			settled <- struct{}{}
		}
		left -= len(ids)
	}
	return g.Wait()
}

func edits(ids []string, do func(*ledger.Entry) error) []ledger.Edit {
	out := make([]ledger.Edit, len(ids))
	for i, id := range ids {
		out[i] = ledger.Edit{ID: id, Do: do}
	}
	return out
}
