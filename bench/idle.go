package bench

import (
	"context"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
)

// Idle is what a VM that has had one command costs the controller's process while nothing happens, the
// ledger's entry and an embedded broker included: one that is linked, and one that has gone.
type Idle struct {
	Transport  string  `json:"transport"`
	VMs        int     `json:"vms"`
	Bytes      float64 `json:"bytes"` // resident
	Goroutines float64 `json:"goroutines"`
	Gone       float64 `json:"gone"`  // bytes of one that has gone
	Entry      float64 `json:"entry"` // bytes of the entry of its command in the memory ledger, which are in both
}

// waves is how many fleets come and go to tell what one that has gone costs. What those before them have left, room for
// as many links at a time, is no cost of a VM. They are two: the first finds an empty heap, where the next has to go
// between what is left.
const waves = 3

// settling is what the ends of links may take.
const settling = time.Second

// fewAtOnce says which brokers do not take a thousand connections within a minute.
func fewAtOnce(transport string) bool { return transport == "rabbitmq" }

func (o *Options) idles(ctx context.Context) ([]Idle, error) {
	if _, ok := resident(); !ok {
		for range o.ours() {
			o.Each()
		}
		return nil, nil
	}
	entry, err := o.entry(ctx)
	if err != nil {
		return nil, err
	}
	var results []Idle
	for _, t := range o.ours() {
		if !fewAtOnce(t) {
			r, err := o.idle(ctx, t)
			if err != nil {
				return results, err
			}
			r.Entry = entry
			results = append(results, r)
		}
		o.Each()
	}
	return results, nil
}

func (o *Options) idle(ctx context.Context, transport string) (Idle, error) {
	r := Idle{Transport: transport, VMs: o.Fleet}
	l := &loop{}
	defer l.close()
	before, goroutines := memoryNow(), runtime.NumGoroutine()
	c, err := o.startController(ctx, transport, "memory", l)
	if err != nil {
		return r, err
	}
	l.send = sendBy(c)
	if err := o.link(ctx, Contender{transport, "memory"}, l, o.Fleet); err != nil {
		return r, err
	}
	r.Bytes = float64(calmMemory(o.Calm)-before) / float64(o.Fleet)
	r.Goroutines = float64(runtime.NumGoroutine()-goroutines) / float64(o.Fleet)

	l.agents.close()
	if err := gone(ctx, c, 0, o.Fleet); err != nil {
		return r, err
	}
	if err := o.comeAndGo(ctx, c, transport, l, 1); err != nil {
		return r, err
	}
	before = calmMemory(settling)
	for wave := range waves {
		if err := o.comeAndGo(ctx, c, transport, l, 2+wave); err != nil {
			return r, err
		}
	}
	r.Gone = float64(calmMemory(settling)-before) / float64(waves*o.Fleet)
	return r, nil
}

// comeAndGo has another fleet come, have a command each, and go.
func (o *Options) comeAndGo(ctx context.Context, c *controller.Controller, transport string, l *loop, fleet int) error {
	first := fleet * o.Fleet
	a, err := o.startSome(agentsTask{Kind: transport, At: l.at, First: first, Count: o.Fleet}, nil)
	if err != nil {
		return err
	}
	err = l.greet(ctx, a, first, o.Fleet)
	a.close()
	if err != nil {
		return err
	}
	return gone(ctx, c, first, o.Fleet)
}

// gone waits until the links of VMs have ended.
func gone(ctx context.Context, c *controller.Controller, first, n int) error {
	for _, vm := range vmNames(first, n) {
		for {
			if p, _ := c.Presence(vm); !p.Attached {
				break
			}
			if ctx.Err() != nil {
				return ctx.Err()
			}
			time.Sleep(time.Millisecond)
		}
	}
	return nil
}

// entry is the size of a settled command in the memory ledger.
func (o *Options) entry(ctx context.Context) (float64, error) {
	n := waves * o.Fleet
	vms := vmNames(0, n)
	if err := fill(ctx, memory.New(), vms, n); err != nil { // warm up
		return 0, err
	}
	before, l := memoryNow(), memory.New()
	if err := fill(ctx, l, vms, n); err != nil {
		return 0, err
	}
	size := float64(memoryNow()-before) / float64(n)
	return size, l.Close()
}

// calmMemory is memoryNow once nothing has happened for a while.
func calmMemory(calm time.Duration) int {
	time.Sleep(calm)
	return memoryNow()
}

// memoryNow is what is resident of this process, and not merely not given back. What pools hold goes at the second
// collection.
func memoryNow() int {
	runtime.GC()
	debug.FreeOSMemory()
	bytes, _ := resident()
	return bytes
}
