package main

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"
)

// report is the results of a run, in the order of the peers. Times are in nanoseconds.
type report struct {
	Time    time.Time `json:"time"`
	Go      string    `json:"go"`
	CPUs    int       `json:"cpus"`
	VMs     int       `json:"vms"`
	Window  int       `json:"window"`
	Rounds  int       `json:"rounds"`
	Results []*result `json:"results"`
}

type result struct {
	*peer
	RoundTrip  roundTrip  `json:"round_trip"`
	Throughput throughput `json:"throughput"`
}

// measured is a peer in the middle of its turns.
type measured struct {
	*result
	loop *loop
}

// slack is how long a turn's last acks may be under way: longer, and one was lost.
const slack = 30 * time.Second

// measure opens all peers, and has them take turns.
func (o *options) measure(ctx context.Context) (*report, error) {
	ctx, o.fail = context.WithCancelCause(ctx)
	defer o.fail(nil)
	r := &report{Time: time.Now(), Go: runtime.Version(), CPUs: runtime.GOMAXPROCS(0), VMs: o.VMs, Window: o.Window, Rounds: o.Rounds}
	var all []measured
	defer func() {
		for _, m := range all {
			m.loop.close()
		}
	}()
	for _, p := range o.chosen() {
		l, err := p.loop(ctx, o)
		if err != nil {
			return nil, cause(ctx, err)
		}
		m := measured{&result{peer: p, RoundTrip: newRoundTrip(), Throughput: throughput{Window: l.window(o)}}, l}
		all, r.Results = append(all, m), append(r.Results, m.result)
	}
	err := o.inTurns(ctx, "round trips", all, func(ctx context.Context, m measured) error {
		return m.RoundTrip.turn(ctx, m.loop, o.Turn)
	})
	if err == nil {
		err = o.inTurns(ctx, "throughput", all, func(ctx context.Context, m measured) error {
			return m.Throughput.turn(ctx, m.loop, o)
		})
	}
	if err != nil {
		return nil, cause(ctx, err)
	}
	for _, m := range all {
		m.RoundTrip.conclude(&all[0].RoundTrip)
		m.Throughput.conclude(&all[0].Throughput)
	}
	return r, nil
}

// inTurns gives each its turn, in every round.
func (o *options) inTurns(ctx context.Context, what string, all []measured, turn func(context.Context, measured) error) error {
	for round := range o.Rounds {
		for _, m := range all {
			ctx, cancel := context.WithTimeout(ctx, floodTurn*o.Turn+slack)
			err := turn(ctx, m)
			cancel()
			if err != nil {
				return fmt.Errorf("%s of %s: %w", what, m.Name, err)
			}
		}
		o.progress(fmt.Sprintf("%s: round %d of %d", what, round+1, o.Rounds))
	}
	return nil
}

// cause is why a run ended, rather than what came of that.
func cause(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// medianRatio is the median of the ratios of what was measured next to each other.
func medianRatio[T time.Duration | float64](those, bare []T) float64 {
	ratios := make([]float64, 0, len(those))
	for i := range those {
		ratios = append(ratios, float64(those[i])/float64(bare[i]))
	}
	return median(ratios)
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	return (v[(n-1)/2] + v[n/2]) / 2
}
