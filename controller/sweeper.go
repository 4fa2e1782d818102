package controller

import (
	"context"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
)

const (
	sweepPage  = 256         // entries that one step of the sweeper takes
	sweepRetry = time.Second // after the ledger failed
	maxSweep   = time.Hour   // between two looks, where nothing is known to be due
)

// sweeper concludes what has expired, runs of which the end is overdue, and what waits for VMs that are absent, and forgets what is too old.
type sweeper struct {
	c      *Controller
	cancel context.CancelFunc
	done   chan struct{}
	sooner chan struct{} // a command with an expiry was sent, or a run that is limited began
}

func startSweeper(c *Controller) *sweeper {
	ctx, cancel := context.WithCancel(context.Background())
	s := &sweeper{c: c, cancel: cancel, done: make(chan struct{}), sooner: make(chan struct{}, 1)}
	go s.run(ctx)
	return s
}

func (s *sweeper) stop() {
	s.cancel()
	<-s.done
}

// wake makes the sweeper look again for what falls due next.
func (s *sweeper) wake() {
	select {
	case s.sooner <- struct{}{}:
	default:
	}
}

func (s *sweeper) run(ctx context.Context) {
	defer close(s.done)
	retention := s.c.opts.Retention
	pruneEvery := min(maxSweep, max(retention/10, time.Second))
	nextPrune := time.Now()
	absence := s.c.opts.Absence
	absencesEvery := min(maxSweep, max(absence/noteEvery, time.Second))
	nextAbsences := nextPrune.Add(absencesEvery)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.sooner:
		case <-timer.C:
		}
		now := time.Now()
		wait := s.expire(ctx, now)
		if retention > 0 {
			if !now.Before(nextPrune) {
				s.prune(ctx, now.Add(-retention))
				s.c.forget(ctx, now.Add(-retention))
				nextPrune = now.Add(pruneEvery)
			}
			wait = min(wait, nextPrune.Sub(now))
		}
		if absence > 0 {
			if !now.Before(nextAbsences) {
				if err := s.c.absences(ctx, now); err != nil && ctx.Err() == nil {
					s.c.log.Error("cannot end what waits for VMs that are absent", "error", err)
				}
				nextAbsences = now.Add(absencesEvery)
			}
			wait = min(wait, nextAbsences.Sub(now))
		}
		timer.Reset(max(wait, time.Millisecond))
	}
}

// expire concludes what is due, as expired or because its run has not ended in time, and returns how long nothing will be.
func (s *sweeper) expire(ctx context.Context, now time.Time) time.Duration {
	wait, began := maxSweep, s.c.began
	for {
		due, next, err := s.c.ledger.Due(ctx, now, sweepPage)
		if err == nil && len(due) > 0 {
			err = s.c.conclude(ctx, due, func(e *ledger.Entry) error {
				switch {
				case e.Expirable(now):
					e.Conclude(ack.Expired, "", "not started in time", now)
				case e.Overrun(now) && e.RunEnds.Before(began):
					e.AwaitRun(began)
				case e.Overrun(now):
					e.EndRun(now)
				}
				return nil
			})
		}
		if slices.ContainsFunc(due, func(e *ledger.Entry) bool { return e.Overrun(now) && e.RunEnds.Before(began) }) {
			wait = min(wait, began.Add(ledger.RunSlack).Sub(now)) // next does not tell of these
		}
		switch {
		case ctx.Err() != nil:
			return maxSweep
		case err != nil:
			s.c.log.Error("cannot conclude what is due", "error", err)
			return sweepRetry
		case len(due) < sweepPage && next.IsZero():
			return wait
		case len(due) < sweepPage:
			return min(wait, next.Sub(now))
		}
	}
}

func (s *sweeper) prune(ctx context.Context, then time.Time) {
	for {
		n, err := s.c.ledger.Prune(ctx, then, sweepPage)
		if err != nil {
			if ctx.Err() == nil {
				s.c.log.Error("cannot forget old commands", "error", err)
			}
			return
		}
		if n < sweepPage {
			return
		}
	}
}
