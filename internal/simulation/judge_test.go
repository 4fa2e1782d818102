package simulation_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
)

// checkMachines holds that of each VM one machine goes on, and the others were told to stop.
func (w *world) checkMachines() {
	for vm := range w.plan.vms {
		var live []string
		for _, m := range w.of(vm) {
			if w.lives(m) {
				live = append(live, m.agent.Instance())
			}
		}
		if len(live) != 1 {
			p, _ := w.front.get().Presence(vmName(vm))
			w.t.Errorf("of %d machines of %s there go on: %v\n%+v", len(w.of(vm)), vmName(vm), live, p)
		}
	}
}

// check holds what came of it against the record.
func (w *world) check() {
	for _, m := range w.machines {
		w.checkOrder(m)
	}
	w.checkKeys()
	for _, c := range w.sent() {
		k := w.caseOf(c)
		w.sum.Commands++
		w.sum.count(k.e.State.Stage)
		if lackedDisk(k.e) {
			w.sum.FullDisks++
		}
		if err := errors.Join(k.runsOnce(), k.oneStarts(), k.starts(), k.ends(), k.endsOnce(&w.sum)); err != nil {
			w.t.Errorf("%s, a command of type %s: %v\nplan: %+v\nmachines: %d\nruns: %+v\nends of processes: %v\nbefell: %+v\nledger: %+v",
				c.id, c.kind, err, c, len(w.of(c.vm)), k.runs, k.died, w.plan.events, k.e)
		}
	}
}

// checkOrder holds that commands began on a machine in the order that they were sent in.
func (w *world) checkOrder(m *machine) {
	last := uint64(0)
	for _, id := range w.order[m] {
		c := w.planned(id)
		if c.options.Urgent || c.kind == concurrent {
			continue
		}
		e := w.entry(id)
		if e.Seq < last {
			w.t.Errorf("%s began out of order on %s: %v", id, vmName(m.vm), w.order[m])
		}
		last = e.Seq
	}
}

func (w *world) entry(id string) *ledger.Entry {
	e, err := w.ledger.Get(context.Background(), id)
	if err != nil {
		w.t.Fatalf("%s is lost: %v", id, err)
	}
	return e
}

// lackedDisk says whether a command was deferred for want of disk.
func lackedDisk(e *ledger.Entry) bool {
	return slices.ContainsFunc(e.History, func(s ledger.Step) bool { return s.Code == ack.CodeNoDisk })
}

// verdict is what is to be judged of one command.
type verdict struct {
	planned
	e      *ledger.Entry
	runs   []run
	taken  []taken
	done   int         // of them
	died   []time.Time // processes of the VM
	cloned bool
}

func (w *world) caseOf(c planned) verdict {
	k := verdict{planned: c, e: w.entry(c.id), runs: w.runs[c.id], taken: w.taken[c.id], died: w.ends[c.vm], cloned: w.cloned(c.vm)}
	for _, r := range k.runs {
		if r.done {
			k.done++
		}
	}
	return k
}

// runsOnce: no handler runs twice, but one that is safe to repeat, after its process died. Of a VM that was cloned each machine
// may run a command once that does not ask; of those that ask one machine may.
func (k *verdict) runsOnce() error {
	once := 1 + k.deferred
	if len(k.runs) > once && (!k.cloned || k.kind == confirmed) && k.kind != repeatable {
		return errors.New("its handler ran twice")
	}
	on, in := map[*machine]int{}, map[*life]int{}
	for _, r := range k.runs {
		on[r.on]++
		in[r.life]++
		if on[r.on] > once && k.kind != repeatable || in[r.life] > once {
			return errors.New("its handler ran twice on one machine")
		}
	}
	return nil
}

// oneStarts: of two processes, on one machine or on two, one is let start it, until it is deferred.
func (k *verdict) oneStarts() error {
	for i, t := range k.taken {
		if i == 0 || k.taken[i-1].by == t.by || len(k.e.History) == ledger.MaxHistory {
			continue
		}
		before := k.taken[i-1].at
		if !slices.ContainsFunc(k.e.History, func(s ledger.Step) bool {
			return s.Stage == ack.Deferred && !s.At.Before(before) && !s.At.After(t.at)
		}) {
			return fmt.Errorf("it was let start at %s, and at %s to another process", before, t.at)
		}
	}
	return nil
}

// starts: it starts in time, by the ledger's clock, or not at all.
func (k *verdict) starts() error {
	for _, s := range k.e.History {
		if s.Stage == ack.Started && (k.e.Cancel != nil && s.At.After(k.e.Cancel.At) || k.e.Command.Expired(s.At)) {
			return errors.New("it was let start, cancelled or expired as it was")
		}
	}
	for i, r := range k.runs {
		if k.kind == confirmed && !k.permitted(r.at) && len(k.e.History) < ledger.MaxHistory {
			return fmt.Errorf("it started at %s without permission", r.at)
		}
		let := slices.ContainsFunc(k.taken, func(t taken) bool { return t.by == r.life && !t.at.After(k.ended()) })
		if r.at.After(k.ended()) && (!k.cloned || k.kind == confirmed && !let) {
			return errors.New("it started after it had ended")
		}
		again := k.kind == repeatable && slices.ContainsFunc(k.runs[:i], func(o run) bool { return k.cloned || o.on == r.on }) // a copy of a journal says that it had begun
		if k.e.Command.Expired(r.at) && !again && !k.permitted(r.at) {
			return fmt.Errorf("it started %s after it had expired", r.at.Sub(k.e.Command.ExpiresAt))
		}
	}
	return nil
}

// permitted says whether by then the ledger had it started, and not deferred since.
func (k *verdict) permitted(by time.Time) (is bool) {
	for _, s := range k.e.History {
		switch {
		case s.At.After(by):
			return is
		case s.Stage.Running():
			is = true
		case s.Stage == ack.Deferred && s.At.Before(by): // else it may be what this run came to
			is = false
		}
	}
	return is
}

// early is how much earlier than the ledger an agent may take a command for expired: it is told whole milliseconds.
const early = time.Millisecond

// ends: the outcome is what has happened.
func (k *verdict) ends() error {
	if k.e.State.Verdict && !k.unheard() && slices.ContainsFunc(k.runs, func(r run) bool { return !r.on.told }) {
		return fmt.Errorf("the controller says %s, and it ran", k.e.State.Stage)
	}
	switch stage := k.e.State.Stage; stage {
	case ack.Succeeded:
		if k.kind == completed && k.interrupted() {
			break
		}
		if k.done == 0 {
			return errors.New("succeeded, and its handler did not end")
		}
		if k.fails {
			return errors.New("succeeded, and its handler failed")
		}
	case ack.Failed:
		if k.e.Code == ack.CodeRunTimeout {
			return k.timedOut()
		}
		if k.done == 0 || !k.fails {
			return errors.New("failed, and its handler did not")
		}
	case ack.Rejected:
		if k.kind != nobodys {
			return errors.New("rejected, and there is a handler")
		}
	case ack.Expired:
		if k.options.TTL == 0 {
			return errors.New("expired, and has no end")
		}
		if ended := k.ended(); ended.Add(early).Before(k.e.Command.ExpiresAt) {
			return fmt.Errorf("expired %s too early", k.e.Command.ExpiresAt.Sub(ended))
		}
		if len(k.runs) > k.deferred && !k.cloned {
			return errors.New("expired, and had begun in time")
		}
	case ack.Canceled:
		if k.cancelAt == 0 {
			return errors.New("canceled, and nobody asked for it")
		}
	case ack.Superseded:
		if k.options.SupersedeKey == "" || k.done > 0 && !k.cloned {
			return errors.New("superseded, and has no key or was done")
		}
	case ack.Interrupted:
		if !k.interrupted() || k.kind == completed {
			return errors.New("interrupted, and there was nothing to interrupt")
		}
		if k.kind == repeatable && k.options.SupersedeKey == "" && k.options.TTL == 0 && k.options.RunTimeout == 0 {
			return errors.New("interrupted, and could have been run again")
		}
	case ack.Dead: // agents answer all that arrives, and no path of a plan is too narrow for a command alone
		return fmt.Errorf("it was given up, as %s: %s", k.e.Code, k.e.Reason)
	default:
		return fmt.Errorf("it is %s, and not settled", stage)
	}
	return nil
}

// ended is when it was settled.
func (k *verdict) ended() time.Time { return k.e.History[len(k.e.History)-1].At }

// interrupted says whether it had begun, or was let begin, when a process of the VM died before it ended. A process may die
// between the permission, for which it also asks where an earlier process has left the command, and the start: the next one
// cannot know. A machine of a VM that was cloned takes what runs on another for interrupted.
func (k *verdict) interrupted() bool {
	var begun []time.Time
	for _, r := range k.runs {
		begun = append(begun, r.at)
	}
	for _, s := range k.e.History {
		if s.Stage.Running() {
			begun = append(begun, s.At)
		}
	}
	if len(begun) == 0 {
		return false
	}
	first := slices.MinFunc(begun, time.Time.Compare)
	return k.cloned || slices.ContainsFunc(k.died, func(at time.Time) bool { return !at.Before(first) && !at.After(k.ended()) })
}

func (s *totals) count(stage ack.Stage) {
	switch stage {
	case ack.Succeeded:
		s.Succeeded++
	case ack.Failed:
		s.Failed++
	case ack.Rejected:
		s.Rejected++
	case ack.Expired:
		s.Expired++
	case ack.Canceled:
		s.Canceled++
	case ack.Superseded:
		s.Superseded++
	case ack.Interrupted:
		s.Interrupted++
	}
}
