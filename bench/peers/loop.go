package main

import (
	"context"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
)

// loop is a controller with its agents, ready to be measured: by pipes where what is sent is not waited
// for, or by calls.
type loop struct {
	*peer
	pipes   []pipe
	call    func(ctx context.Context, vm int) error // a command, and its ack
	inboxes []inbox                                 // of the pipes, where acks come by callbacks
	agents  *agents
	clean   cleanup
}

// pipe is a way to one VM and back: commands go out in order, and so many may be under way.
type pipe struct {
	send func() error // one command
	ack  func(ctx context.Context) error
}

// pipe adds one whose acks come to the next inbox.
func (l *loop) pipe(send func() error) {
	l.pipes = append(l.pipes, pipe{send, l.inboxes[len(l.pipes)].ack})
}

// attended returns when each agent has said hello.
func (l *loop) attended(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyTime)
	defer cancel()
	for _, in := range l.inboxes {
		if err := in.ack(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (l *loop) roundTrip(ctx context.Context, vm int) error {
	if l.call != nil {
		return l.call(ctx, vm)
	}
	if err := l.pipes[vm].send(); err != nil {
		return err
	}
	return l.pipes[vm].ack(ctx)
}

// window is how many commands may be under way to each of n VMs.
func (l *loop) window(o *options) int {
	if l.most == 0 {
		return o.Window
	}
	return min(o.Window, max(l.most/o.VMs, 1))
}

// flood keeps the window of each VM full for a while, and returns how many commands were acknowledged.
func (l *loop) flood(ctx context.Context, o *options, d time.Duration) (int, error) {
	g, ctx := errgroup.WithContext(ctx)
	var done atomic.Int64
	end := time.Now().Add(d)
	if l.call != nil {
		l.floodCalls(ctx, g, o, end, &done)
	} else {
		l.floodPipes(ctx, g, o, end, &done)
	}
	err := g.Wait()
	return int(done.Load()), err
}

// floodCalls has a caller for each command under way.
func (l *loop) floodCalls(ctx context.Context, g *errgroup.Group, o *options, end time.Time, done *atomic.Int64) {
	for i := range o.VMs * l.window(o) {
		g.Go(func() error {
			for time.Now().Before(end) {
				if err := l.call(ctx, i%o.VMs); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
}

// floodPipes has a writer and a reader for each VM.
func (l *loop) floodPipes(ctx context.Context, g *errgroup.Group, o *options, end time.Time, done *atomic.Int64) {
	for _, p := range l.pipes {
		underWay := make(chan struct{}, l.window(o)-1) // one more is with the reader
		g.Go(func() error {
			defer close(underWay)
			for time.Now().Before(end) {
				select {
				case underWay <- struct{}{}:
				case <-ctx.Done():
					return ctx.Err()
				}
				if err := p.send(); err != nil {
					return err
				}
			}
			return nil
		})
		g.Go(func() error {
			for range underWay {
				if err := p.ack(ctx); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
}

func (l *loop) close() {
	if l.agents != nil {
		l.agents.close()
	}
	l.clean.run()
}

// cleanup is what is to be undone, the last first.
type cleanup []func()

func (c *cleanup) add(f func()) { *c = append(*c, f) }

func (c *cleanup) run() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
	*c = nil
}

func vmName(i int) string { return "vm-" + strconv.Itoa(i) }
