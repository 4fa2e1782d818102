package bench

import (
	"fmt"
	"slices"
)

// Goal is one that this library has set itself, and what a run has come to.
type Goal struct {
	What     string  `json:"what"`
	Of       string  `json:"of"` // transport, or ledger
	AtLeast  float64 `json:"at_least,omitempty"`
	AtMost   float64 `json:"at_most"` // where there is no AtLeast
	Measured float64 `json:"measured"`
	Met      bool    `json:"met"`
}

// Limit is the goal for people.
func (g Goal) Limit() string {
	if g.AtLeast > 0 {
		return fmt.Sprintf("≥ %.2f", g.AtLeast)
	}
	return fmt.Sprintf("≤ %.2f", g.AtMost)
}

func (g Goal) met() string {
	if g.Met {
		return "yes"
	}
	return "no"
}

// limit is a goal of one transport, or of one ledger.
type limit struct {
	of string
	is float64
}

// every is the same goal for all transports.
func every(is float64) []limit {
	limits := make([]limit, 0, len(registry))
	for _, t := range Transports() {
		limits = append(limits, limit{t, is})
	}
	return limits
}

// The sizes that the goals are for. Results of other sizes are judged by none.
const (
	goalVMs, goalWindow = 100, 64
	goalIdle            = 1000 // with few VMs it is the process that is measured
	goalFleet           = 2000
	goalAudience        = 10_000
	goalKnown           = 10_000
	goalPast            = 1_000_000
)

// flat is what goes for a cost that does not grow: less is noise.
const flat = 1.25

// goals are ratios to the bare loop of the same transport in the same run, unless they say what else they are.
var goals = []struct {
	what    string
	limits  []limit
	atLeast bool
	measure func(r *Report, of string) (float64, bool)
}{
	{"round trip, p50 / bare", []limit{{"ws", 1.15}, {"sse", 1}, {"longpoll", 0.9}, {"grpc", 1.15}, {"nats", 1.15}}, false, func(r *Report, of string) (float64, bool) {
		m := find(r.RoundTrip, of, "memory")
		return m.ToBare, m.ToBare > 0
	}},
	{"round trip, p99 / bare", every(1.25), false, func(r *Report, of string) (float64, bool) {
		m := find(r.RoundTrip, of, "memory")
		return m.P99ToBare, m.P99ToBare > 0
	}},
	{fmt.Sprintf("round trip on disk, p50 / bare + %d bare commits", commits), every(1), false, func(r *Report, of string) (float64, bool) {
		m := find(r.RoundTrip, of, "bolt")
		return m.ToFloor, m.ToFloor > 0
	}},
	{"throughput / bare, 100 VMs × 64", []limit{{"ws", 2}, {"sse", 3}, {"longpoll", 3}}, true, func(r *Report, of string) (float64, bool) {
		m := find(r.Throughput, of, "memory")
		return m.ToBare, m.full() && m.ToBare > 0
	}},
	{"throughput on disk / bare, 100 VMs × 64", []limit{{"ws", 0.6}}, true, func(r *Report, of string) (float64, bool) {
		m := find(r.Throughput, of, "bolt")
		return m.ToBare, m.full() && m.ToBare > 0
	}},
	{"throughput on disk / bare, 8 VMs × 8", []limit{{"ws", 0.25}}, true, func(r *Report, of string) (float64, bool) {
		m := find(r.Durable, of, "bolt")
		return m.ToBare, m.ToBare > 0
	}},
	{"CPU of a command / bare, 100 VMs × 64", []limit{{"ws", 0.6}}, false, func(r *Report, of string) (float64, bool) {
		m := find(r.Throughput, of, "memory")
		return m.CPUToBare, m.full() && m.CPUToBare > 0
	}},
	{"KiB of an idle VM", []limit{{"ws", 10}, {"grpc", 24}, {"sse", 20}, {"longpoll", 20}}, false, func(r *Report, of string) (float64, bool) {
		m := idleOf(r, of)
		return m.Bytes / 1024, m.VMs >= goalIdle
	}},
	{"KiB of a VM that has gone, without the ledger's entry", every(0.5), false, func(r *Report, of string) (float64, bool) {
		m := idleOf(r, of)
		return max(m.Gone-m.Entry, 0) / 1024, m.VMs >= goalIdle
	}},
	{"connect storm / bare, 2,000 VMs", []limit{{"ws", 1.5}}, false, func(r *Report, of string) (float64, bool) {
		m := find(r.Storm, of, "memory")
		return m.ToBare, m.VMs >= goalFleet && m.ToBare > 0
	}},
	{"reconnect storm, 2,000 VMs: missing, lost, or run twice", every(0), false, func(r *Report, of string) (float64, bool) {
		m := find(r.Reconnect, of, "bolt")
		return float64(m.Missing + m.Lost + m.Twice), m.VMs >= goalFleet
	}},
	{"reconnect storm, 2,000 VMs: p99 are back, s", []limit{{"ws", 2.5}, {"sse", 2.5}, {"longpoll", 2.5}, {"grpc", 2.5}, {"nats", 5}, {"redis", 5}, {"rabbitmq", 5}}, false, func(r *Report, of string) (float64, bool) {
		m := find(r.Reconnect, of, "bolt")
		return m.P99.Seconds(), m.VMs >= goalFleet && m.Outage == 0 && m.P99 > 0
	}},
	{"broadcast to 10,000 VMs, 9,000 of them away, s of CPU", every(1), false, func(r *Report, of string) (float64, bool) {
		m := find(r.Broadcast, of, "bolt")
		return m.CPUSeconds, m.VMs >= goalAudience && m.CPUSeconds > 0
	}},
	{"growth from 10 to 10,000 VMs, the worse of time and CPU", []limit{{"memory", flat}, {"bolt", flat}}, false, func(r *Report, of string) (float64, bool) {
		return worst(r.Growth, of, func(g Growth) bool { return g.Known >= goalKnown })
	}},
	{"growth to 1,000,000 settled commands, likewise", []limit{{"memory", flat}, {"bolt", flat}}, false, func(r *Report, of string) (float64, bool) {
		return worst(r.Growth, of, func(g Growth) bool { return g.Past >= goalPast })
	}},
}

// Judge compares a run with the goals. What was not measured, or at another size, is left out.
func (r Report) Judge() []Goal {
	var judged []Goal
	for _, g := range goals {
		for _, l := range g.limits {
			v, ok := g.measure(&r, l.of)
			if !ok {
				continue
			}
			j := Goal{What: g.what, Of: l.of, AtMost: l.is, Measured: v, Met: v <= l.is}
			if g.atLeast {
				j = Goal{What: g.what, Of: l.of, AtLeast: l.is, Measured: v, Met: v >= l.is}
			}
			judged = append(judged, j)
		}
	}
	return judged
}

// find returns the result of a contender; zero if there is none.
func find[T interface{ contender() Contender }](results []T, transport, store string) T {
	if i := slices.IndexFunc(results, func(t T) bool { return t.contender() == Contender{transport, store} }); i >= 0 {
		return results[i]
	}
	var none T
	return none
}

func (c Contender) contender() Contender { return c }

// full says whether a throughput is of the size that its goals are for.
func (t *Throughput) full() bool { return t.VMs == goalVMs && t.Window == goalWindow }

func idleOf(r *Report, transport string) Idle {
	for _, m := range r.Idle {
		if m.Transport == transport {
			return m
		}
	}
	return Idle{}
}

// worst is the largest growth of a ledger, in time or in CPU.
func worst(rows []Growth, store string, is func(Growth) bool) (v float64, ok bool) {
	for _, g := range rows {
		if g.Ledger == store && is(g) {
			v, ok = max(v, g.ToLeast, g.CPUToLeast), true
		}
	}
	return v, ok
}
