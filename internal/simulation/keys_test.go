package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/miglink/miglink/command"
)

// drawRetries gives some commands an idempotency key, and has them sent again under it, each time with another ID. A retry
// differs from what it repeats in nothing that it asks for; what a handler does it draws anew.
func drawRetries(seed uint64, commands []planned) (retries []planned) {
	rng := rand.New(rand.NewPCG(seed, 1)) // of its own: what else a seed stands for stays
	for i := range commands {
		c := &commands[i]
		if rng.Float64() > 0.5 {
			continue
		}
		c.options.IdempotencyKey = "key-" + c.id
		if rng.Float64() < 0.5 { // most keys become free so
			c.options.TTL = time.Second + time.Duration(rng.Int64N(int64(15*time.Second)))
		}
		for n := range 1 + rng.IntN(3) {
			again := *c
			again.id = fmt.Sprintf("%s-again-%d", c.id, n)
			again.options.ID, again.cancelAt = again.id, 0
			if rng.Float64() < 0.5 {
				again.at += time.Duration(rng.Int64N(int64(length)))
			} else { // as soon as it has expired, which the agent may not have heard of
				again.at += c.options.TTL + time.Duration(rng.Int64N(int64(2*time.Second)))
			}
			again.work = min(c.work, time.Duration(rng.Int64N(int64(20*time.Second))))
			again.at = min(again.at, length)
			retries = append(retries, again)
		}
	}
	return retries
}

// retry is the one that has an ID.
func (p *plan) retry(id string) planned {
	i := slices.IndexFunc(p.retries, func(c planned) bool { return c.id == id })
	return p.retries[i]
}

// sent are the commands that there are: those that were planned, and retries that found their key free.
func (w *world) sent() []planned { return slices.Concat(w.plan.commands, w.anew) }

// retries are the steps that send them.
func (w *world) retries() (steps []step) {
	for _, c := range w.plan.retries {
		steps = append(steps, step{c.at, func() { w.sendAgain(c) }})
	}
	return steps
}

func (w *world) sendAgain(c planned) {
	cmd, err := command.NewRaw(c.kind, nil, c.options)
	if err != nil {
		w.t.Fatal(err)
	}
	r, err := w.front.get().Send(w.t.Context(), vmName(c.vm), cmd)
	if err != nil {
		w.t.Errorf("send %s: %v", c.id, err)
		return
	}
	w.sum.Retries++
	if r.Created() {
		w.sum.Anew++
		w.anew = append(w.anew, c)
	}
}

// checkKeys holds that of all commands that were sent under one key handlers have begun one at most, however often they did. Of
// a VM that was cloned that holds for commands that ask before they start. One that does not ask may run on a machine whose
// start has yet to be recorded, while another machine, which was refused the start, says that the command was not run; that
// frees its key.
func (w *world) checkKeys() {
	ran := map[string]string{}
	for _, c := range w.sent() {
		key := c.options.IdempotencyKey
		if key == "" || len(w.runs[c.id]) == 0 || w.cloned(c.vm) && c.kind != confirmed {
			continue
		}
		if other := ran[key]; other != "" {
			w.t.Errorf("%s and %s have both run under one key\n%+v\n%+v", other, c.id, w.entry(other), w.entry(c.id))
		}
		ran[key] = c.id
	}
}
