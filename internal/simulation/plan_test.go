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
	retries  []planned // of commands, under their idempotency keys
	events   []happening
	journal  bool // agents keep journals, so that they may be killed
	answers  bool // whoever is at the other end of a link says what has arrived, when it is asked
	direct   bool // links are transport.Direct
	window   int
	off      []time.Duration // by VM: how far its wall clock is ahead of the ledger's
}

// planned is one command and when it is sent.
type planned struct {
	at       time.Duration
	vm       int
	id       string
	kind     command.Type
	options  command.Options
	work     time.Duration // how long the handler takes
	hangs    time.Duration // how long it takes in place of that, heeding no context; 0: it does not
	deferred int           // how often it asks for another time first
	fails    bool
	cancelAt time.Duration // 0: never
}

// happening is something that befalls the system.
type happening struct {
	at    time.Duration
	do    what
	vm    int
	which int           // of its machines
	lasts time.Duration // what comes to an end
	jump  time.Duration // of a clock
}

type what int

const (
	cutLinks what = iota
	restartController
	killAgent
	stopAgent
	fillDisk // of an agent
	emptyDisk
	events // number of them

	// These are drawn by themselves.
	cloneMachine what = iota
	loseUp            // what goes to the controller
	loseDown          // and what comes from it
	jump              // of a wall clock
	sleep             // of a machine
)

// The types of command, each with another policy.
const (
	ordered    command.Type = "ordered"
	confirmed  command.Type = "confirmed"
	concurrent command.Type = "concurrent"
	exclusive  command.Type = "exclusive"
	repeatable command.Type = "repeatable" // after a crash it runs again
	completed  command.Type = "completed"  // after a crash it counts as done
	nobodys    command.Type = "nobodys"    // no handler
)

var kinds = []command.Type{ordered, ordered, confirmed, confirmed, concurrent, exclusive, repeatable, completed, nobodys}

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
		if h.do >= killAgent && h.do <= emptyDisk && !p.journal {
			h.do = cutLinks
		}
		p.events = append(p.events, h)
	}
	p.answers = sometimes(0.8)
	p.direct = sometimes(0.5)
	p.limitRuns(seed)
	p.retries = drawRetries(seed, p.commands)
	day := func() time.Duration { return upTo(48*time.Hour) - 24*time.Hour }
	for range p.vms {
		p.off = append(p.off, day())
	}
	befalls := func(do what, lasts, jump time.Duration) {
		p.events = append(p.events, happening{at: moment(), do: do, vm: rng.IntN(p.vms), which: rng.IntN(maxMachines), lasts: lasts, jump: jump})
	}
	if sometimes(0.2) {
		for range 1 + rng.IntN(2) {
			befalls(cloneMachine, 0, 0)
		}
	}
	for range rng.IntN(3) {
		befalls(loseUp+what(rng.IntN(2)), time.Second+upTo(80*time.Second), 0)
	}
	for range rng.IntN(3) {
		befalls(jump, 0, day())
	}
	for range rng.IntN(2) {
		befalls(sleep, time.Second+upTo(80*time.Second), 0)
	}
	return p
}
