package bench

import (
	"context"
	"time"

	"golang.org/x/sync/errgroup"
)

// Storm is how long it takes until VMs that dial at once have had the command that waits for each, and the
// controller has its final ack.
type Storm struct {
	Contender
	VMs    int           `json:"vms"`
	Took   time.Duration `json:"took"`
	ToBare float64       `json:"to_bare,omitempty"`
}

// storms says for which transports there is a bare loop that takes many VMs.
func storms(transport string) bool { return floods(transport) && transport != rawTCP }

func (o *Options) storms(ctx context.Context) ([]Storm, error) {
	var results []Storm
	bare := map[string]time.Duration{}
	for _, c := range o.contenders(storms) {
		if !fewAtOnce(c.Transport) {
			s, err := o.storm(ctx, c)
			if err != nil {
				return results, err
			}
			if c.Ledger == "" {
				bare[c.Transport] = s.Took
			} else if b := bare[c.Transport]; b > 0 {
				s.ToBare = float64(s.Took) / float64(b)
			}
			results = append(results, s)
		}
		o.Each()
	}
	return results, nil
}

func (o *Options) storm(ctx context.Context, c Contender) (Storm, error) {
	s := Storm{Contender: c, VMs: o.Fleet}
	if c.Ledger == "" {
		l, err := o.openBare(ctx, c.Transport, o.Fleet)
		if err != nil {
			return s, err
		}
		defer l.close()
		s.Took = l.storm
		return s, nil
	}
	l := &loop{}
	defer l.close()
	if err := o.start(ctx, c, l); err != nil {
		return s, err
	}
	waits := make([]func(context.Context) error, o.Fleet)
	err := atATime(ctx, o.Fleet, func(ctx context.Context, i int) (err error) {
		waits[i], err = l.send(ctx, l.at.vm(i))
		return err
	})
	if err != nil {
		return s, err
	}
	if l.agents, err = o.startAgents(c.Transport, l.at, o.Fleet); err != nil {
		return s, err
	}
	began := time.Now()
	if err := l.agents.release(); err != nil {
		return s, err
	}
	err = atATime(ctx, o.Fleet, func(ctx context.Context, i int) error { return waits[i](ctx) })
	s.Took = time.Since(began)
	return s, err
}

// atATime does n things, so many of them at a time as a controller elsewhere is asked.
func atATime(ctx context.Context, n int, do func(ctx context.Context, i int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for i := range n {
		g.Go(func() error { return do(ctx, i) })
	}
	return g.Wait()
}
