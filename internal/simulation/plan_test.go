package simulation_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport/fault"
)

// plan is all that a run decides by chance.
type plan struct {
	faults   fault.Plan
	vms      int
	commands []planned
	events   []happening
	journal  bool // agents keep journals, so that they may be killed
	direct   bool // links are transport.Direct
	window   int
}

// planned is one command and when it is sent.
type planned struct {
	at       time.Duration
	vm       int
	id       string
	kind     command.Type
	options  command.Options
	work     time.Duration // how long the handler takes
	deferred int           // how often it asks for another time first
	fails    bool
	cancelAt time.Duration // 0: never
}

// happening is something that befalls the system.
type happening struct {
	at time.Duration
	do what
	vm int
}

type what int

const (
	cutLinks what = iota
	restartController
	killAgent
	stopAgent
	events // number of them
)

// The types of command, each with another policy.
const (
	ordered    command.Type = "ordered"
	confirmed  command.Type = "confirmed"
	concurrent command.Type = "concurrent"
	repeatable command.Type = "repeatable" // after a crash it runs again
	completed  command.Type = "completed"  // after a crash it counts as done
	nobodys    command.Type = "nobodys"    // no handler
)

var kinds = []command.Type{ordered, ordered, confirmed, confirmed, concurrent, repeatable, completed, nobodys}

// length is when the last thing of a plan happens.
const length = 2 * time.Minute

func drawPlan(seed uint64) plan {
	rng := rand.New(rand.NewPCG(seed, 0))
	moment := func() time.Duration { return time.Duration(rng.Int64N(int64(length))) }
	sometimes := func(chance float64) bool { return rng.Float64() < chance }
	upTo := func(d time.Duration) time.Duration { return time.Duration(rng.Int64N(int64(d))) }
	p := plan{
		vms:     1 + rng.IntN(3),
		journal: sometimes(0.25),
		window:  rng.IntN(5),
		faults: fault.Plan{
			Seed:      seed,
			DialFails: 0.3 * rng.Float64(),
			Cut:       0.1 * rng.Float64(),
			Lost:      0.1 * rng.Float64(),
			Duplicate: 0.2 * rng.Float64(),
			MaxDelay:  1 + upTo(2*time.Second),
		},
	}
	for i := range 1 + rng.IntN(30) {
		c := planned{at: moment(), vm: rng.IntN(p.vms), id: fmt.Sprintf("c%02d", i), kind: kinds[rng.IntN(len(kinds))], fails: sometimes(0.1)}
		c.options.ID = c.id
		c.options.Urgent = sometimes(0.1)
		if sometimes(0.2) {
			c.options.TTL = time.Second + upTo(time.Minute)
		}
		if sometimes(0.2) {
			c.options.SupersedeKey = "key"
		}
		if sometimes(0.5) {
			c.work = upTo(20 * time.Second)
		}
		if sometimes(0.1) {
			c.deferred = 1 + rng.IntN(2)
		}
		if sometimes(0.15) {
			c.cancelAt = c.at + 1 + upTo(30*time.Second)
		}
		p.commands = append(p.commands, c)
	}
	for range rng.IntN(8) {
		h := happening{at: moment(), do: what(rng.IntN(int(events))), vm: rng.IntN(p.vms)}
		if h.do >= killAgent && !p.journal {
			h.do = cutLinks
		}
		p.events = append(p.events, h)
	}
	p.direct = sometimes(0.5)
	return p
}
