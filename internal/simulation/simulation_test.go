package simulation_test

import (
	"flag"
	"math/rand/v2"
	"testing"
	"testing/synctest"
)

var (
	runs = flag.Int("simulation.runs", plans, "how many plans to play")
	seed = flag.Uint64("simulation.seed", 0, "play this plan only")
)

func TestSimulation(t *testing.T) {
	if *seed != 0 {
		play(t, *seed)
		return
	}
	first := rand.Uint64()
	n := *runs
	if testing.Short() {
		n = min(n, 200)
	}
	var sum totals
	t.Logf("%d runs from seed %d", n, first)
	for i := range n {
		sum.add(play(t, first+uint64(i)))
	}
	t.Logf("%+v", sum)
	if n >= 200 {
		sum.check(t)
	}
}

// play plays one plan in a bubble of fake time.
func play(t *testing.T, seed uint64) (sum totals) {
	synctest.Test(t, func(t *testing.T) {
		defer func() {
			if t.Failed() {
				t.Logf("replay it with -simulation.seed %d", seed)
			}
		}()
		w := newWorld(t, drawPlan(seed))
		w.play()
		w.check()
		sum = w.sum
	})
	return sum
}

// totals are what has been seen over all runs: a simulation in which nothing goes wrong proves nothing.
type totals struct {
	Commands, Succeeded, Failed, Rejected, Expired, Canceled, Superseded, Interrupted int
	DialFails, Cuts, Losses, Duplicates, Restarts, Kills, FullDisks                   int
	Retries, Anew                                                                     int
	Clones, Swallows, Jumps, Sleeps                                                   int
	TimedOut, Late                                                                    int // runs that lasted too long, and those that came to another end later
}

func (s *totals) add(o totals) {
	s.Commands += o.Commands
	s.Succeeded += o.Succeeded
	s.Failed += o.Failed
	s.Rejected += o.Rejected
	s.Expired += o.Expired
	s.Canceled += o.Canceled
	s.Superseded += o.Superseded
	s.Interrupted += o.Interrupted
	s.DialFails += o.DialFails
	s.Cuts += o.Cuts
	s.Losses += o.Losses
	s.Duplicates += o.Duplicates
	s.Restarts += o.Restarts
	s.Kills += o.Kills
	s.FullDisks += o.FullDisks
	s.Retries += o.Retries
	s.Anew += o.Anew
	s.Clones += o.Clones
	s.Swallows += o.Swallows
	s.Jumps += o.Jumps
	s.Sleeps += o.Sleeps
	s.TimedOut += o.TimedOut
	s.Late += o.Late
}

func (s *totals) check(t *testing.T) {
	for name, n := range map[string]int{
		"success": s.Succeeded, "failure": s.Failed, "rejection": s.Rejected, "expiry": s.Expired, "cancel": s.Canceled,
		"superseded": s.Superseded, "interrupted": s.Interrupted, "failed dial": s.DialFails, "cut": s.Cuts, "loss": s.Losses,
		"duplicate": s.Duplicates, "restart of the controller": s.Restarts, "kill of an agent": s.Kills, "full disk": s.FullDisks,
		"retry": s.Retries - s.Anew, "retry that was sent anew": s.Anew,
		"clone": s.Clones, "path that swallows": s.Swallows, "clock that jumps": s.Jumps, "machine that sleeps": s.Sleeps,
		"run that lasted too long": s.TimedOut, "late result": s.Late,
	} {
		if n == 0 {
			t.Errorf("not one %s in all runs", name)
		}
	}
}
