package bench

import (
	"context"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Growth is what a command costs, one at a time to the few VMs that are linked, as the number grows of VMs that
// the controller knows, or of commands that the ledger remembers.
type Growth struct {
	Contender
	Known      int           `json:"known"` // VMs
	Past       int           `json:"past"`  // settled commands
	P50        time.Duration `json:"p50"`
	CPU        float64       `json:"cpu"`                    // microseconds of the controller for a command; zero where the system does not say
	ToLeast    float64       `json:"to_least,omitempty"`     // P50 by that of the first stage: the median of the rounds' ratios
	CPUToLeast float64       `json:"cpu_to_least,omitempty"` // likewise

	medians []time.Duration
	cpus    []float64
}

// stages are how far each ledger grows, over the first of the transports.
func (o *Options) stages() []Growth {
	var all []Growth
	if len(o.ours()) == 0 {
		return nil
	}
	for _, store := range o.Ledgers {
		c := Contender{o.ours()[0], store}
		for _, n := range o.Known {
			all = append(all, Growth{Contender: c, Known: n})
		}
		all = append(all, Growth{Contender: c, Known: o.Known[0], Past: o.Past})
	}
	return all
}

// growth has all stages take turns.
func (o *Options) growth(ctx context.Context) ([]Growth, error) {
	all := o.stages()
	loops := make([]*loop, len(all))
	defer func() {
		for _, l := range loops {
			if l != nil {
				l.close()
			}
		}
	}()
	for i := range all {
		loops[i] = &loop{}
		if err := o.grow(ctx, all[i], loops[i]); err != nil {
			return nil, err
		}
	}
	for range o.Rounds {
		for i := range all {
			if err := all[i].turn(ctx, loops[i], o.Turn, o.Known[0]); err != nil {
				return nil, err
			}
			o.Each()
		}
	}
	var least *Growth // of the ledger
	for i := range all {
		g := &all[i]
		g.P50, g.CPU = median(g.medians), median(g.cpus)
		if least == nil || least.Ledger != g.Ledger {
			least = g
			continue
		}
		g.ToLeast = medianRatio(g.medians, least.medians)
		if least.CPU > 0 {
			g.CPUToLeast = medianRatio(g.cpus, least.cpus)
		}
	}
	return all, nil
}

// grow opens a stage.
func (o *Options) grow(ctx context.Context, g Growth, l *loop) error {
	led, err := openLedger(g.Ledger, &l.clean)
	if err != nil {
		return err
	}
	linked := o.Known[0]
	rest := vmNames(linked, g.Known-linked)
	if err := fill(ctx, led, rest, len(rest)); err != nil {
		return err
	}
	if err := fill(ctx, led, vmNames(0, linked), g.Past); err != nil {
		return err
	}
	c, err := o.startOn(ctx, g.Transport, led, l)
	if err != nil {
		return err
	}
	if err := meet(ctx, c, rest); err != nil {
		return err
	}
	l.send = sendBy(c)
	return o.link(ctx, g.Contender, l, linked)
}

func (g *Growth) turn(ctx context.Context, l *loop, d time.Duration, linked int) error {
	h := hdrhistogram.New(1, longest, sigFigures)
	before := ownCPU()
	for i, end := 0, time.Now().Add(d); i == 0 || time.Now().Before(end); i++ {
		began := time.Now()
		if err := l.send.roundTrip(ctx, vmName(i%linked)); err != nil {
			return err
		}
		if err := h.RecordValue(int64(time.Since(began))); err != nil {
			return err
		}
	}
	g.cpus = append(g.cpus, float64((ownCPU()-before).Nanoseconds())/1e3/float64(h.TotalCount()))
	g.medians = append(g.medians, time.Duration(h.ValueAtQuantile(50)))
	return nil
}
