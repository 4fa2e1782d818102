package agent

import (
	"context"
	"slices"
)

// lane holds tasks that wait for their turn, in order. Its fields are guarded by Agent.mu.
type lane struct {
	waits []*task
	busy  bool // a goroutine runs what waits
}

// laneOf returns the lane that t waits in. There are three: an urgent command must wait neither for one that is not, nor
// behind one that is deferred; and concurrent ones wait for an exclusive one only.
func (a *Agent) laneOf(t *task) *lane {
	switch {
	case t.handler.policy.Concurrent:
		return &a.beside
	case t.Urgent:
		return &a.urgent
	}
	return &a.normal
}

// first is what is next in a lane; nil: nothing. In the normal lane a deferred command keeps its place, and what is behind
// it waits; in the others it is passed by. mu is locked.
func (a *Agent) first(l *lane) *task {
	for _, t := range l.waits {
		switch {
		case !t.deferred:
			return t
		case l == &a.normal:
			return nil
		}
	}
	return nil
}

// next is what may run now of a lane; nil: nothing. mu is locked.
func (a *Agent) next(l *lane) *task {
	if a.stopping {
		return nil
	}
	t := a.first(l)
	if t == nil || !a.mayRun(t) {
		return nil
	}
	return t
}

// mayRun says whether t, the first of its lane, may run now. An exclusive command runs alone: it waits for what runs, and
// what would begin meanwhile waits for it, but that an urgent command waits for no other until that runs. An abandoned run
// does not count: nobody knows whether it ever ends. mu is locked.
func (a *Agent) mayRun(t *task) bool {
	if a.alone || t.handler.policy.Exclusive && a.running > 0 {
		return false
	}
	for _, l := range [...]*lane{&a.urgent, &a.normal} {
		o := a.first(l)
		if o == t {
			return true
		}
		if o != nil && o.handler.policy.Exclusive && (o.Urgent || !t.Urgent) {
			return false
		}
	}
	return true
}

// dequeue takes t out of its lane and returns the context to run it with. mu is locked. What follows is run, and returned.
func (a *Agent) dequeue(t *task) context.Context {
	l := a.laneOf(t)
	i := slices.Index(l.waits, t)
	l.waits = slices.Delete(l.waits, i, i+1)
	a.running++
	if t.handler.policy.Exclusive {
		a.alone = true
	}
	return a.prepare(t)
}

// returned is the end of a run: others may run now. mu is locked.
func (a *Agent) returned(t *task) {
	a.running--
	if t.handler.policy.Exclusive {
		a.alone = false
	}
	a.runLanes()
}

// runLanes has goroutines run what may run and nobody runs. mu is locked.
func (a *Agent) runLanes() {
	for l := a.claim(); l != nil; l = a.claim() {
		go a.runLane(l)
	}
	a.runBeside()
}

// runBeside has goroutines run the concurrent ones that may run. mu is locked.
func (a *Agent) runBeside() {
	for t := a.next(&a.beside); t != nil; t = a.next(&a.beside) {
		ctx := a.dequeue(t)
		a.working++
		go a.runOne(ctx, t)
	}
}

// runOne runs a concurrent one that was dequeued.
func (a *Agent) runOne(ctx context.Context, t *task) {
	defer a.workedOn(&t)
	a.run(ctx, t)
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.abandoned == nil {
		a.returned(t)
	}
}

// workedOn is the end of a goroutine that has run handlers, the latest of *t. Where that run was abandoned the goroutine
// counts no more.
func (a *Agent) workedOn(t **task) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if *t == nil || (*t).abandoned == nil {
		a.worked()
	}
}

// claim returns a lane of which something may run and that nobody runs: the caller has to, by runLane. mu is locked.
func (a *Agent) claim() *lane {
	for _, l := range [...]*lane{&a.urgent, &a.normal} {
		if !l.busy && a.next(l) != nil {
			l.busy = true
			a.working++
			return l
		}
	}
	return nil
}

// claimOne claims a lane for the caller, and has goroutines run the others; nil: there is nothing for the caller to run.
func (a *Agent) claimOne() *lane {
	a.mu.Lock()
	defer a.mu.Unlock()
	mine := a.claim()
	a.runLanes()
	return mine
}

// runLane runs what may run of a lane that was claimed, one at a time, until nothing may. A handler that ends its goroutine
// ends this, too: exited does the rest. After a run that was abandoned another goroutine has the lane.
func (a *Agent) runLane(l *lane) {
	var t *task
	defer a.workedOn(&t)
	a.mu.Lock()
	for t = a.next(l); t != nil; t = a.next(l) {
		ctx := a.dequeue(t)
		a.mu.Unlock()
		a.run(ctx, t)
		a.mu.Lock()
		if t.abandoned != nil {
			a.mu.Unlock()
			return
		}
		a.returned(t)
	}
	l.busy = false
	a.mu.Unlock()
}

// startLanes is runLanes for who has not locked mu.
func (a *Agent) startLanes() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.runLanes()
}

// enqueue puts t at the end of its lane; of the concurrent ones, which have no order, urgent ones first. mu is locked.
func (a *Agent) enqueue(t *task) {
	l := a.laneOf(t)
	at := len(l.waits)
	if t.Urgent && l == &a.beside {
		at = 0
	}
	l.waits = slices.Insert(l.waits, at, t)
}

// waits says whether t waits for its turn. mu is locked.
func (a *Agent) waits(t *task) bool {
	return t.handler != nil && slices.Contains(a.laneOf(t).waits, t)
}

// leave takes t, which waits, out of its lane: it may have been what others waited for. mu is locked.
func (a *Agent) leave(t *task) {
	l := a.laneOf(t)
	l.waits = slices.DeleteFunc(l.waits, func(o *task) bool { return o == t })
	a.runLanes()
}
