package bench

import (
	"context"
	"time"
)

// Broadcast is what it takes until a command for each of many VMs is on disk, most of which are known and not there.
type Broadcast struct {
	Contender
	VMs        int           `json:"vms"`
	Linked     int           `json:"linked"`
	Took       time.Duration `json:"took"`        // until Broadcast has returned; the median of the rounds
	CPUSeconds float64       `json:"cpu_seconds"` // of the controller until then; zero where the system does not say
}

func (o *Options) broadcasts(ctx context.Context) ([]Broadcast, error) {
	var results []Broadcast
	for _, c := range o.onDisk() {
		b, err := o.broadcast(ctx, c)
		if err != nil {
			return results, err
		}
		results = append(results, b)
	}
	return results, nil
}

func (o *Options) broadcast(ctx context.Context, of Contender) (Broadcast, error) {
	b := Broadcast{Contender: of, VMs: o.Audience, Linked: max(o.Audience/10, 1)}
	l := &loop{}
	defer l.close()
	c, err := o.startController(ctx, of.Transport, of.Ledger, l)
	if err != nil {
		return b, err
	}
	l.send = sendBy(c)
	if err := o.link(ctx, of, l, b.Linked); err != nil {
		return b, err
	}
	vms := vmNames(0, b.VMs)
	if err := meet(ctx, c, vms[b.Linked:]); err != nil {
		return b, err
	}
	var took []time.Duration
	var cpu []float64
	for range o.floodRounds() {
		cmd, err := newCommand()
		if err != nil {
			return b, err
		}
		began, before := time.Now(), ownCPU()
		receipts, err := c.Broadcast(ctx, vms, cmd)
		if err != nil {
			return b, err
		}
		took, cpu = append(took, time.Since(began)), append(cpu, (ownCPU()-before).Seconds())
		for _, r := range receipts[:b.Linked] { // what it leaves to do is not the next one's
			e, err := r.Wait(ctx)
			if err == nil {
				err = succeeded(e.State.Stage)
			}
			if err != nil {
				return b, err
			}
		}
		o.Each()
	}
	b.Took, b.CPUSeconds = median(took), median(cpu)
	return b, nil
}
