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

// floodPipes keeps each pipe full for a while, by one goroutine that writes, at least once, and one that
// reads.
func floodPipes(ctx context.Context, pipes []pipe, window int, d time.Duration) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	end := time.Now().Add(d)
	for _, p := range pipes {
		underWay := make(chan struct{}, window)
		g.Go(func() error {
			defer close(underWay)
			for {
				select {
				case underWay <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := p.send(); err != nil {
					return err
				}
				if !time.Now().Before(end) {
					return nil
				}
			}
		})
		g.Go(func() error {
			for range underWay {
				if err := p.ack(); err != nil {
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

// floodVMs keeps so many commands under way to each VM, as floodPipes does: by one goroutine that sends, and one
// that waits for each in turn.
func floodVMs(ctx context.Context, s send, vms []string, window int, d time.Duration) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	end := time.Now().Add(d)
	for _, vm := range vms {
		underWay := make(chan func(context.Context) error, window)
		g.Go(func() error {
			defer close(underWay)
			for {
				wait, err := s(ctx, vm)
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
