package bench

import (
	"context"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// RoundTrip is the time from Send to the final ack, one command at a time.
type RoundTrip struct {
	Contender
	Latency
	ToBare    float64 `json:"to_bare,omitempty"`     // P50 by that of the bare loop: the median of the rounds' ratios
	P99ToBare float64 `json:"p99_to_bare,omitempty"` // of the whole run: in one round it is a matter of a few commands
	// ToFloor is, with the ledger on disk, P50 by that of the bare loop and as many bare commits as commits says: the
	// median of the rounds' ratios.
	ToFloor float64 `json:"to_floor,omitempty"`
}

// Latency is a distribution.
type Latency struct {
	Count int64         `json:"count"`
	P50   time.Duration `json:"p50"`
	P90   time.Duration `json:"p90"`
	P99   time.Duration `json:"p99"`
	P999  time.Duration `json:"p999"`
}

func latencyOf(h *hdrhistogram.Histogram) Latency {
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtQuantile(q)) }
	return Latency{Count: h.TotalCount(), P50: at(50), P90: at(90), P99: at(99), P999: at(99.9)}
}

const (
	warmUp     = 100
	longest    = int64(time.Minute)
	sigFigures = 3
)

// runner is a contender in the middle of its turns.
type runner struct {
	Contender
	*loop
	all     *hdrhistogram.Histogram
	medians []time.Duration // of the rounds
}

// roundTrips measures all contenders in turns.
func (o *Options) roundTrips(ctx context.Context) ([]RoundTrip, *Latency, error) {
	var runners []*runner
	defer func() {
		for _, r := range runners {
			r.close()
		}
	}()
	for _, c := range o.lone() {
		l, err := o.open(ctx, c, 1)
		if err != nil {
			return nil, nil, err
		}
		r := &runner{Contender: c, loop: l, all: hdrhistogram.New(1, longest, sigFigures)}
		runners = append(runners, r)
		for range warmUp {
			if err := l.roundTrip(ctx); err != nil {
				return nil, nil, err
			}
		}
	}
	for range o.Rounds {
		for _, r := range runners {
			if err := r.turn(ctx, o.Turn); err != nil {
				return nil, nil, err
			}
			o.Each()
		}
	}
	results := make([]RoundTrip, 0, len(runners))
	bare := map[string]*runner{}
	for _, r := range runners {
		result := RoundTrip{Contender: r.Contender, Latency: latencyOf(r.all)}
		if r.Ledger == "" {
			bare[r.Transport] = r
		} else if b := bare[r.Transport]; b != nil {
			result.ToBare = medianRatio(r.medians, b.medians)
			result.P99ToBare = float64(result.P99) / float64(latencyOf(b.all).P99)
			if commit := bare[commitFloor]; commit != nil && r.Ledger == "bolt" {
				result.ToFloor = medianRatio(r.medians, floor(b, commit))
			}
		}
		results = append(results, result)
	}
	if bare[commitFloor] == nil {
		return results, nil, nil
	}
	return results[1:], &results[0].Latency, nil
}

// lone are those that do one thing at a time.
func (o *Options) lone() []Contender {
	cs := o.contenders(always)
	if slices.Contains(o.Ledgers, "bolt") {
		cs = slices.Insert(cs, 0, Contender{Transport: commitFloor})
	}
	return cs
}

// floor is what a round trip with the ledger on disk takes at least, in each round.
func floor(bare, commit *runner) []time.Duration {
	sums := make([]time.Duration, len(bare.medians))
	for i := range sums {
		sums[i] = bare.medians[i] + commits*commit.medians[i]
	}
	return sums
}

// turn measures one contender for a while.
func (r *runner) turn(ctx context.Context, d time.Duration) error {
	h := hdrhistogram.New(1, longest, sigFigures)
	for end := time.Now().Add(d); ; {
		began := time.Now()
		if h.TotalCount() > 0 && !began.Before(end) {
			break
		}
		if err := r.roundTrip(ctx); err != nil {
			return err
		}
		if err := h.RecordValue(int64(time.Since(began))); err != nil {
			return err
		}
	}
	r.all.Merge(h)
	r.medians = append(r.medians, time.Duration(h.ValueAtQuantile(50)))
	return nil
}

// medianRatio is the median of the ratios of what was measured next to each other.
func medianRatio[T time.Duration | float64](ours, bare []T) float64 {
	ratios := make([]float64, 0, len(ours))
	for i := range ours {
		ratios = append(ratios, float64(ours[i])/float64(bare[i]))
	}
	return median(ratios)
}

func median[T time.Duration | float64](v []T) T {
	v = slices.Sorted(slices.Values(v))
	n := len(v)
	if n == 0 {
		return 0
	}
	return (v[(n-1)/2] + v[n/2]) / 2
}
