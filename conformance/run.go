package conformance

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"runtime/debug"
	"time"
)

// Options are optional.
type Options struct {
	Scenarios []Scenario    // default: all
	Seed      uint64        // of the faults; default: a new one
	Timeout   time.Duration // of one scenario; default: 2 min

	// Each is called with every result as it comes.
	Each func(Result)
}

// Result is what came of one scenario on one subject.
type Result struct {
	Subject  string        `json:"subject"`
	Number   int           `json:"number"`
	Scenario string        `json:"scenario"`
	Excluded string        `json:"excluded,omitempty"` // the fact that excludes it
	Err      string        `json:"error,omitempty"`    // empty: passed
	Note     string        `json:"note,omitempty"`     // what was proven instead of what the scenario says
	Duration time.Duration `json:"duration_ns"`
	Seed     uint64        `json:"seed"`
}

func (s Scenario) title() string { return fmt.Sprintf("%d %s", s.Number, s.Name) }

// Run runs the scenarios on each subject, one after the other.
func Run(ctx context.Context, subjects []Subject, o Options) (Report, error) {
	if len(o.Scenarios) == 0 {
		o.Scenarios = Scenarios()
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64()
	}
	report := Report{Seed: o.Seed}
	for _, subject := range subjects {
		for _, scenario := range o.Scenarios {
			if err := ctx.Err(); err != nil {
				return report, err
			}
			r := play(ctx, subject, scenario, o)
			if o.Each != nil {
				o.Each(r)
			}
			report.Results = append(report.Results, r)
		}
	}
	return report, nil
}

// overtime is how long calls may take to return once the context of their scenario has ended.
const overtime = 15 * time.Second

// play runs one scenario on one subject.
func play(ctx context.Context, subject Subject, s Scenario, o Options) Result {
	r := Result{Subject: subject.Name, Number: s.Number, Scenario: s.Name, Seed: o.Seed}
	if r.Excluded = s.excluded(subject.Facts); r.Excluded != "" {
		return r
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = 2 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	before := runtime.NumGoroutine()
	start := time.Now()
	w := &World{
		ctx: ctx, subject: subject, seed: o.Seed, mayRepeat: map[string]bool{},
		env: &Env{ctx: ctx, seed: o.Seed, credentials: newCredentials()},
	}
	ended := make(chan error, 1)
	go func() { ended <- errors.Join(perform(w, s), finish(w)) }()
	returned, err := await(ctx, ended)
	if returned {
		cancel()
		r.Note = w.notes
		err = errors.Join(err, leaked(before))
	}
	if err != nil {
		r.Err = err.Error()
	}
	r.Duration = time.Since(start)
	return r
}

// await returns what a scenario ended with, or gives it up some time after its context has ended.
func await(ctx context.Context, ended <-chan error) (returned bool, err error) {
	select {
	case err = <-ended:
		return true, err
	case <-ctx.Done():
	}
	select {
	case err = <-ended:
		return true, err
	case <-time.After(overtime):
		return false, fmt.Errorf("it hangs: %s after its context has ended some call has not returned", overtime)
	}
}

// perform runs the scenario itself; a failed check, or a panic, is its error.
func perform(w *World, s Scenario) (err error) {
	defer recovered(&err)
	s.Run(w)
	return nil
}

func finish(w *World) (err error) {
	defer recovered(&err)
	w.close()
	if w.ledger == nil {
		return nil
	}
	err = w.invariants()
	for _, l := range w.ledgers {
		err = errors.Join(err, l.Close())
	}
	return err
}

func recovered(err *error) {
	switch p := recover().(type) {
	case nil:
	case failed:
		*err = p.err
	default:
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}
