package bench

import (
	"context"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// floodAll has n workers do one round trip after the other for a while, at least one each, and returns how
// many were done.
func floodAll(ctx context.Context, n int, d time.Duration, do func(ctx context.Context, worker int) error) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	end := time.Now().Add(d)
	for i := range n {
		g.Go(func() error {
			for {
				if err := do(ctx, i); err != nil {
					return err
				}
				done.Add(1)
				if !time.Now().Before(end) {
					return nil
				}
			}
		})
	}
	err := g.Wait()
	return int(done.Load()), err
}

// pipe is a bare way to one VM and back: commands go out in order, and so many may be under way.
type pipe struct {
	send func() error // one command
	ack  func() error // waits for one
}

// floodPipes keeps each pipe full for a while.
func floodPipes(ctx context.Context, pipes []pipe, window int, d time.Duration) (int, error) {
	ways := make([]way, len(pipes))
	for i, p := range pipes {
		ack := func(context.Context) error { return p.ack() }
		ways[i] = func(context.Context) (func(context.Context) error, error) { return ack, p.send() }
	}
	return floodWays(ctx, ways, window, d)
}

// floodVMs keeps so many commands under way to each VM for a while.
func floodVMs(ctx context.Context, s send, vms []string, window int, d time.Duration) (int, error) {
	ways := make([]way, len(vms))
	for i, vm := range vms {
		ways[i] = func(ctx context.Context) (func(context.Context) error, error) { return s(ctx, vm) }
	}
	return floodWays(ctx, ways, window, d)
}

// way sends one command to a VM, and returns how to wait for its end.
type way func(ctx context.Context) (wait func(ctx context.Context) error, err error)

// floodWays has one goroutine for each way that sends, at least once, and one that waits for each command in
// turn.
func floodWays(ctx context.Context, ways []way, window int, d time.Duration) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	end := time.Now().Add(d)
	for _, begin := range ways {
		underWay := make(chan func(context.Context) error, window)
		g.Go(func() error {
			defer close(underWay)
			for {
				wait, err := begin(ctx)
				if err != nil {
					return err
				}
				select {
				case underWay <- wait:
				case <-ctx.Done():
					return ctx.Err()
				}
				if !time.Now().Before(end) {
					return nil
				}
			}
		})
		g.Go(func() error {
			for wait := range underWay {
				if err := wait(ctx); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err := g.Wait()
	return int(done.Load()), err
}
