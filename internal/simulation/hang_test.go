package simulation_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/miglink/miglink/ack"
)

// runGrace is an agent's, by default.
const runGrace = 10 * time.Second

// limitRuns has the runs of some commands limited, and of those some hang. It draws by itself, so that plans are else what
// they were.
func (p *plan) limitRuns(seed uint64) {
	rng := rand.New(rand.NewPCG(seed, 2))
	for i := range p.commands {
		c := &p.commands[i]
		if rng.Float64() < 0.2 {
			c.options.RunTimeout = time.Second + time.Duration(rng.Int64N(10_000))*time.Millisecond
			if rng.Float64() < 0.5 {
				c.hangs = c.options.RunTimeout + time.Duration(rng.Int64N(int64(time.Minute)))
			}
		}
	}
}

// hang is a handler that heeds no context. letGo is called when its run is abandoned, after which others may run beside it.
func (c *planned) hang(letGo func()) {
	abandoned := time.AfterFunc(c.options.RunTimeout+runGrace-1, letGo)
	defer abandoned.Stop()
	time.Sleep(c.hangs)
}

// unheard: the controller has ended a limited run of which nothing was heard. All its runs were deferred, and that did not
// arrive in time.
func (k *verdict) unheard() bool {
	return k.e.State.Verdict && k.e.Code == ack.CodeRunTimeout && k.options.RunTimeout > 0 && k.done == 0
}

// timedOut: a command fails because its run lasted too long only where it did.
func (k *verdict) timedOut() error {
	if k.unheard() {
		return nil
	}
	if limit := k.options.RunTimeout; limit == 0 || k.work < limit && k.hangs < limit {
		return fmt.Errorf("timed out, and may run for %s", limit)
	}
	return nil
}

// endsOnce: an agent says of a command that it has ended twice only where its run was abandoned. Of a VM that was cloned each
// machine says what has come of its run.
func (k *verdict) endsOnce(sum *totals) error {
	ends, abandoned := 0, false
	for _, s := range k.e.History {
		if !s.Stage.Final() || s.Verdict {
			continue
		}
		if ends++; ends == 1 {
			abandoned = s.Code == ack.CodeRunTimeout
		}
	}
	if abandoned {
		sum.TimedOut++
	}
	switch {
	case ends > 2 || ends == 2 && !abandoned:
		return errors.New("it ended twice")
	case ends == 2 && k.hangs == 0 && !k.cloned:
		return errors.New("it came to another end, and did not hang")
	case ends == 2:
		sum.Late++
	}
	return nil
}
