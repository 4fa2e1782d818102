package simulation_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/transport"
)

// record is what has really happened, as the handlers saw it.
type record struct {
	runs  map[string][]run      // by command ID, as they began
	taken map[string][]taken    // by command ID: starts that the controller has recorded
	order map[*machine][]string // the commands as they began there for the first time
	ends  map[int][]time.Time   // by VM: when a process died, or was ended
}

// run is one of a handler.
type run struct {
	on   *machine
	life *life
	at   time.Time
	done bool // it returned, in a process that lived, without asking for another time
}

// taken is one start that the controller has recorded.
type taken struct {
	by *life
	at time.Time
}

func newRecord() record {
	return record{runs: map[string][]run{}, taken: map[string][]taken{}, order: map[*machine][]string{}, ends: map[int][]time.Time{}}
}

// heard notes the starts that the controller has recorded, but those that do no harm beside another.
func (w *world) heard(life *life, acks []ack.Ack, err error) {
	if err != nil && !transport.Refused(err) {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for i, a := range acks {
		if a.Stage == ack.Started && !a.Again && transport.AckError(err, i) == nil {
			w.taken[a.CommandID] = append(w.taken[a.CommandID], taken{life, time.Now()})
		}
	}
}

// died notes the end of a process. mu is locked.
func (w *world) died(m *machine) { w.ends[m.vm] = append(w.ends[m.vm], time.Now()) }

// handle is every handler: it keeps the record that counts.
func (w *world) handle(ctx context.Context, m *machine, life *life, job *agent.Job) error {
	w.mu.Lock()
	c := w.planned(job.Command().ID)
	w.running++
	defer w.leave()
	leave := sync.OnceFunc(w.enter(life, c))
	defer leave()
	if life.over.Load() {
		w.mu.Unlock()
		return errKilled
	}
	n := len(w.runs[c.id])
	if !slices.ContainsFunc(w.runs[c.id], func(r run) bool { return r.on == m }) {
		w.order[m] = append(w.order[m], c.id)
	}
	w.runs[c.id] = append(w.runs[c.id], run{on: m, life: life, at: time.Now()})
	w.mu.Unlock()
	if n < c.deferred {
		return agent.RetryLater(time.Second, "not yet")
	}
	defer w.returned(life, c.id, n)
	if c.hangs > 0 {
		c.hang(leave)
	} else {
		select {
		case <-time.After(c.work):
		case <-ctx.Done():
			if cause := context.Cause(ctx); errors.Is(cause, agent.ErrCanceled) || errors.Is(cause, agent.ErrRunTimeout) {
				return ctx.Err()
			}
			<-time.After(c.work) // stopping: it goes on for as long as it is let
		}
	}
	if c.fails {
		return errors.New("it failed")
	}
	return nil
}

// enter notes that a handler runs in a process until it returns, and checks that it may. mu is locked.
func (w *world) enter(life *life, c planned) (leave func()) {
	if life.alone > 0 || c.kind == exclusive && life.running > 0 {
		w.t.Errorf("%s runs beside another, and one of them is exclusive", c.id)
	}
	other := life.lanes[c.options.Urgent]
	if c.kind != concurrent {
		if other != "" {
			w.t.Errorf("%s runs beside %s", c.id, other)
		}
		life.lanes[c.options.Urgent] = c.id
	}
	life.running++
	if c.kind == exclusive {
		life.alone++
	}
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		life.running--
		if c.kind == exclusive {
			life.alone--
		}
		if c.kind != concurrent {
			life.lanes[c.options.Urgent] = ""
		}
	}
}

func (w *world) leave() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.running--; w.running == 0 {
		w.idle.Broadcast()
	}
}

func (w *world) returned(life *life, id string, n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.runs[id][n].done = !life.over.Load()
}

// rest waits until no handler runs.
func (w *world) rest() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for w.running > 0 {
		w.idle.Wait()
	}
}
