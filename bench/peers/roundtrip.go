package main

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// roundTrip is the time of one command and its ack, to one VM, one at a time.
type roundTrip struct {
	Count  int64         `json:"count"`
	P50    time.Duration `json:"p50"`
	P90    time.Duration `json:"p90"`
	P99    time.Duration `json:"p99"`
	ToBare float64       `json:"to_bare"` // of P50: the median of the rounds' ratios

	all     *hdrhistogram.Histogram
	medians []time.Duration // of the rounds
}

const warmUp = 100

func newHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, int64(time.Minute), 3)
}

func newRoundTrip() roundTrip { return roundTrip{all: newHistogram()} }

func (r *roundTrip) turn(ctx context.Context, l *loop, d time.Duration) error {
	if len(r.medians) == 0 {
		for range warmUp {
			if err := l.roundTrip(ctx, 0); err != nil {
				return err
			}
		}
	}
	h := newHistogram()
	for end := time.Now().Add(d); ; {
		began := time.Now()
		if h.TotalCount() > 0 && !began.Before(end) {
			break
		}
		if err := l.roundTrip(ctx, 0); err != nil {
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

func (r *roundTrip) conclude(bare *roundTrip) {
	at := func(q float64) time.Duration { return time.Duration(r.all.ValueAtQuantile(q)) }
	r.Count, r.P50, r.P90, r.P99 = r.all.TotalCount(), at(50), at(90), at(99)
	r.ToBare = medianRatio(r.medians, bare.medians)
}
