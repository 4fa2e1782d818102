package conformance

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/ledger"
)

// invariants are what holds after every scenario, while the ledger is still there.
func (w *World) invariants() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var errs []error
	for _, s := range w.sent {
		e, err := w.ledger.Get(context.Background(), s.id)
		if err != nil {
			errs = append(errs, fmt.Errorf("command %s is lost: %w", s.id, err))
			continue
		}
		if err := backwards(e); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(append(errs, w.once(), w.inOrder())...)
}

// once: no handler ran twice for one ID.
func (w *World) once() error {
	runs := map[string]int{}
	var errs []error
	for _, e := range w.effects {
		if runs[e.id]++; runs[e.id] == 2 && !w.mayRepeat[e.id] {
			errs = append(errs, fmt.Errorf("the handler of %s ran twice", e.id))
		}
	}
	return errors.Join(errs...)
}

// inOrder: on each VM, commands that are neither urgent nor concurrent ran in the order sent.
func (w *World) inOrder() error {
	last := map[string]uint64{}
	for _, r := range w.effects {
		if r.urgent || r.concurrent || w.mayRepeat[r.id] {
			continue
		}
		e, err := w.ledger.Get(context.Background(), r.id)
		if err != nil {
			continue // reported as lost
		}
		if e.Seq < last[r.vm] {
			return fmt.Errorf("%s ran out of order on %s: it is number %d and ran after number %d", r.id, r.vm, e.Seq, last[r.vm])
		}
		last[r.vm] = e.Seq
	}
	return nil
}

var order = map[ack.Stage]int{ack.Queued: 0, ack.Delivered: 1, ack.Received: 2, ack.Started: 3, ack.Progress: 4, ack.Deferred: 5}

// backwards: no stage follows a later one, but that a deferral begins anew, and that the agent's word
// follows a verdict.
func backwards(e *ledger.Entry) error {
	for i := 1; i < len(e.History); i++ {
		from, to := e.History[i-1], e.History[i]
		switch {
		case from.Stage.Final() && (!from.Verdict && from.Code != ack.CodeRunTimeout || !to.Stage.Final()):
			return fmt.Errorf("%s went from the final %s to %s", e.Command.ID, from.Stage, to.Stage)
		case from.Stage == ack.Deferred, to.Stage.Final():
		case order[to.Stage] < order[from.Stage]:
			return fmt.Errorf("%s went back from %s to %s", e.Command.ID, from.Stage, to.Stage)
		}
	}
	return nil
}

// leaked waits until no more goroutines than before are left, and otherwise shows those of ours.
func leaked(before int) error {
	limit := time.Now().Add(patience / 2)
	for runtime.NumGoroutine() > before {
		if time.Now().After(limit) {
			return fmt.Errorf("%d goroutines are left, there were %d before:\n%s", runtime.NumGoroutine(), before, ours())
		}
		time.Sleep(2 * time.Millisecond)
	}
	return nil
}

func ours() string {
	b := make([]byte, 1<<20)
	b = b[:runtime.Stack(b, true)]
	var out []string
	for stack := range strings.SplitSeq(string(b), "\n\n") {
		if strings.Contains(stack, "miglink/") && !strings.Contains(stack, "conformance.leaked") {
			out = append(out, stack)
		}
	}
	return strings.Join(out, "\n\n")
}
