package main

import (
	"context"
	"time"
)

// throughput is how many commands a second are sent to all VMs and acknowledged.
type throughput struct {
	Window    int     `json:"window"` // commands that may be under way to each VM
	PerSecond float64 `json:"per_second"`
	ToBare    float64 `json:"to_bare"` // the median of the rounds' ratios
	// CPUSeconds are those of a million commands, of both processes and of the controller's; zero where
	// the system does not say, or what was measured was too short.
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUController float64 `json:"cpu_controller"`
	CPUToBare     float64 `json:"cpu_to_bare,omitempty"`

	rates, cpus, cpusController []float64 // of the rounds
}

// floodTurn is how many turns of a round trip one of throughput takes.
const floodTurn = 5

func (t *throughput) turn(ctx context.Context, l *loop, o *options) error {
	if len(t.rates) == 0 { // warm up
		if _, err := l.flood(ctx, o, o.Turn); err != nil {
			return err
		}
	}
	pid := l.agents.cmd.Process.Pid
	began, ours, theirs := time.Now(), ownCPU(), cpuOf(pid)
	n, err := l.flood(ctx, o, floodTurn*o.Turn)
	if err != nil {
		return err
	}
	millions := float64(n) / 1e6
	controller := (ownCPU() - ours).Seconds() / millions
	t.rates = append(t.rates, float64(n)/time.Since(began).Seconds())
	t.cpusController = append(t.cpusController, controller)
	t.cpus = append(t.cpus, controller+(cpuOf(pid)-theirs).Seconds()/millions)
	return nil
}

func (t *throughput) conclude(bare *throughput) {
	t.PerSecond, t.CPUSeconds, t.CPUController = median(t.rates), median(t.cpus), median(t.cpusController)
	t.ToBare = medianRatio(t.rates, bare.rates)
	if median(bare.cpus) > 0 {
		t.CPUToBare = medianRatio(t.cpus, bare.cpus)
	}
}
