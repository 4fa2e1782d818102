package bench

import (
	"context"
	"slices"
	"time"
)

// Throughput is how many commands a second are sent to a fleet and acknowledged, with so many under way to
// each VM: by one goroutine that sends to it and one that waits, as the bare loops have, and where Send itself
// waits, for a disk or an answer, by one for each command under way.
type Throughput struct {
	Contender
	VMs       int     `json:"vms"`
	Window    int     `json:"window"`
	PerSecond float64 `json:"per_second"`
	ToBare    float64 `json:"to_bare,omitempty"` // the median of the rounds' ratios
	// CPUSeconds are those of a million commands, of both processes and of the controller's; zero where
	// the system does not say.
	CPUSeconds     float64 `json:"cpu_seconds"`
	CPUController  float64 `json:"cpu_controller"`
	CPUToBare      float64 `json:"cpu_to_bare,omitempty"`
	rates, cpus    []float64
	cpusController []float64
}

// floods says for which transports there is a bare loop of many commands under way.
func floods(transport string) bool {
	return slices.Contains([]string{rawTCP, "ws", "sse", "longpoll"}, transport)
}

// floodTurn is how many turns of a round trip one of throughput takes.
const floodTurn = 5

func (o *Options) floodRounds() int { return max(o.Rounds/3, 1) }

// Where the disk decides, it is what few VMs can have that shows whether a commit waits for company.
const durableVMs, durableWindow = 8, 8

// durables are the bare loops, which have no disk, and ours on disk.
func (o *Options) durables() []Contender {
	if !slices.Contains(o.Ledgers, "bolt") {
		return nil
	}
	return slices.DeleteFunc(o.contenders(floods), func(c Contender) bool { return c.Ledger != "" && c.Ledger != "bolt" })
}

func (o *Options) throughputs(ctx context.Context, cs []Contender, vms, window int) ([]Throughput, error) {
	var results []Throughput
	err := o.inTurns(ctx, cs, vms, o.floodRounds(), func(c Contender, l *loop) (turn func() error, done func()) {
		t := Throughput{Contender: c, VMs: vms, Window: window}
		return func() error { return t.turn(ctx, l, o.Turn) }, func() { results = append(results, t) }
	})
	if err != nil {
		return nil, err
	}
	bare := map[string]*Throughput{}
	for i := range results {
		r := &results[i]
		r.PerSecond = median(r.rates)
		if r.Ledger != remote { // what this process computes is not the controller's
			r.CPUSeconds, r.CPUController = median(r.cpus), median(r.cpusController)
		}
		if r.Ledger == "" {
			bare[r.Transport] = r
		} else if b := bare[r.Transport]; b != nil {
			r.ToBare = medianRatio(r.rates, b.rates)
			if b.CPUSeconds > 0 {
				r.CPUToBare = medianRatio(r.cpus, b.cpus)
			}
		}
	}
	return results, nil
}

func (t *Throughput) turn(ctx context.Context, l *loop, d time.Duration) error {
	if len(t.rates) == 0 { // warm up
		if _, err := l.flood(ctx, t.Window, d); err != nil {
			return err
		}
	}
	began, ours, theirs := time.Now(), ownCPU(), cpuOf(l.agents.cmd.Process.Pid)
	n, err := l.flood(ctx, t.Window, floodTurn*d)
	if err != nil {
		return err
	}
	millions := float64(n) / 1e6
	controller := (ownCPU() - ours).Seconds() / millions
	t.rates = append(t.rates, float64(n)/time.Since(began).Seconds())
	t.cpusController = append(t.cpusController, controller)
	t.cpus = append(t.cpus, controller+(cpuOf(l.agents.cmd.Process.Pid)-theirs).Seconds()/millions)
	return nil
}
