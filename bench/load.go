package bench

import (
	"context"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sync/errgroup"
)

// Load is the time from when a command was due to its final ack, where commands are due at a steady rate,
// round the VMs, however long those before them take: a stall counts for all that it delays.
type Load struct {
	Contender
	Rate int `json:"rate"` // commands a second
	VMs  int `json:"vms"`
	Latency
}

// offer has commands be due at a rate for a while, and records how late their final acks are.
type offer func(ctx context.Context, rate int, d time.Duration, h *histogram) error

func (o *Options) loads(ctx context.Context) ([]Load, error) {
	var results []Load
	err := o.inTurns(ctx, o.contenders(floods), o.VMs, o.floodRounds(), func(c Contender, l *loop) (turn func() error, done func()) {
		h := newHistogram()
		turn = func() error { return l.offer(ctx, o.Rate, floodTurn*o.Turn, h) }
		return turn, func() { results = append(results, Load{c, o.Rate, o.VMs, h.latency()}) }
	})
	return results, err
}

// inTurns opens all contenders, with n VMs each, and has them take turns.
func (o *Options) inTurns(ctx context.Context, cs []Contender, n, rounds int, begin func(Contender, *loop) (turn func() error, done func())) error {
	var turns []func() error
	var dones []func()
	for _, c := range cs {
		l, err := o.open(ctx, c, n)
		if err != nil {
			return err
		}
		defer l.close()
		turn, done := begin(c, l)
		turns, dones = append(turns, turn), append(dones, done)
	}
	for range rounds {
		for _, turn := range turns {
			if err := turn(); err != nil {
				return err
			}
			o.Each()
		}
	}
	for _, done := range dones {
		done()
	}
	return nil
}

// schedule calls due with the number and the time of each command, when it is due.
func schedule(ctx context.Context, rate int, d time.Duration, due func(i int, at time.Time) error) error {
	began, n := time.Now(), int(d.Seconds()*float64(rate))
	for i := range max(n, 1) {
		at := began.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(at))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err := due(i, at); err != nil {
			return err
		}
	}
	return nil
}

// offerEach does each round trip in a goroutine of its own.
func offerEach(do func(ctx context.Context, i int) error) offer {
	return func(ctx context.Context, rate int, d time.Duration, h *histogram) error {
		g, ctx := errgroup.WithContext(ctx)
		g.Go(func() error {
			return schedule(ctx, rate, d, func(i int, at time.Time) error {
				g.Go(func() error {
					err := do(ctx, i)
					h.record(time.Since(at))
					return err
				})
				return nil
			})
		})
		return g.Wait()
	}
}

// offerPipes has a writer and a reader for each pipe.
func offerPipes(pipes []pipe) offer {
	return func(ctx context.Context, rate int, d time.Duration, h *histogram) error {
		g, ctx := errgroup.WithContext(ctx)
		due := make([]chan time.Time, len(pipes))
		for i, p := range pipes {
			due[i] = make(chan time.Time, maxWindow)
			sent := make(chan time.Time, maxWindow)
			g.Go(func() error {
				defer close(sent)
				for at := range due[i] {
					sent <- at
					if err := p.send(); err != nil {
						return err
					}
				}
				return nil
			})
			g.Go(func() error {
				for at := range sent {
					if err := p.ack(); err != nil {
						return err
					}
					h.record(time.Since(at))
				}
				return nil
			})
		}
		g.Go(func() error {
			defer func() {
				for _, c := range due {
					close(c)
				}
			}()
			return schedule(ctx, rate, d, func(i int, at time.Time) error {
				select {
				case due[i%len(due)] <- at:
					return nil
				case <-ctx.Done():
					return ctx.Err()
				}
			})
		})
		return g.Wait()
	}
}

// histogram is of latencies, and safe for concurrent use.
type histogram struct {
	mu sync.Mutex
	h  *hdrhistogram.Histogram
}

func newHistogram() *histogram { return &histogram{h: hdrhistogram.New(1, longest, sigFigures)} }

// record counts what takes longer than a histogram goes as its longest.
func (h *histogram) record(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	_ = h.h.RecordValue(min(max(int64(d), 1), longest)) // in range
}

func (h *histogram) latency() Latency { return latencyOf(h.h) }
