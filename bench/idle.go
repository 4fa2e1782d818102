package bench

import (
	"context"
	"runtime"
	"runtime/debug"
)

// Idle is what a connected VM that has had one command costs the controller's process while nothing
// happens, the ledger's entry and an embedded broker included.
type Idle struct {
	Transport  string  `json:"transport"`
	VMs        int     `json:"vms"`
	Bytes      float64 `json:"bytes"` // resident
	Goroutines float64 `json:"goroutines"`
}

// fewAtOnce says which brokers do not take a thousand connections within a minute.
func fewAtOnce(transport string) bool { return transport == "rabbitmq" }

func (o *Options) idles(ctx context.Context) ([]Idle, error) {
	var results []Idle
	for _, t := range o.Transports {
		if _, ok := resident(); ok && !fewAtOnce(t) {
			r, err := o.idle(ctx, t)
			if err != nil {
				return results, err
			}
			results = append(results, r)
		}
		o.Each()
	}
	return results, nil
}

func (o *Options) idle(ctx context.Context, transport string) (Idle, error) {
	debug.FreeOSMemory()
	before, _ := resident()
	goroutines := runtime.NumGoroutine()
	l, err := o.openOurs(ctx, transport, "memory", o.Fleet)
	if err != nil {
		return Idle{}, err
	}
	defer l.close()
	debug.FreeOSMemory()
	after, _ := resident()
	n := float64(o.Fleet)
	return Idle{
		Transport: transport, VMs: o.Fleet,
		Bytes:      float64(after-before) / n,
		Goroutines: float64(runtime.NumGoroutine()-goroutines) / n,
	}, nil
}
