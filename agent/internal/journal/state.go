package journal

import (
	"slices"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/setaside"
	"github.com/miglink/miglink/transport"
)

// Task is what the journal knows of one command.
type Task struct {
	ID       string
	Delivery *transport.Delivery // nil once it has finished
	Started  int                 // attempt; 0 is not started
	Final    *ack.Ack
	Created  time.Time // of Final; zero: not known
	Recorded bool

	// Unreadable says why the parameters of Delivery could not be read; empty: they could. Such a delivery is in no file
	// that is written anew, from which it would come back with parameters that look good.
	Unreadable string
}

// state is what all records add up to.
type state struct {
	tasks  map[string]*Task
	order  []*Task // as received
	cursor transport.Cursor
	aside  []setaside.Record // what could not be read
}

func newState() *state { return &state{tasks: map[string]*Task{}} }

func (s *state) apply(r Record) {
	t := s.tasks[r.ID]
	if t == nil && r.Recorded { // of what is not kept: a cancel
		return
	}
	if t == nil {
		t = &Task{ID: r.ID}
		s.tasks[r.ID] = t
		s.order = append(s.order, t)
	}
	switch {
	case r.Received != nil:
		if t.Final == nil {
			t.Delivery, t.Unreadable = r.Received, r.unreadable
		}
		s.cursor = r.Received.Cursor
	case r.Started > 0:
		t.Started = r.Started
	case r.Finished != nil:
		if t.Created = r.Created; t.Created.IsZero() && t.Delivery != nil { // of an agent that did not write it
			t.Created = t.Delivery.CreatedAt
		}
		// It may be another end, of a run that was abandoned.
		t.Final, t.Delivery, t.Recorded = r.Finished, nil, false
	case r.Recorded:
		t.Recorded = r.Of == "" || t.Final != nil && t.Final.Stage == r.Of
	}
}

// forget drops what the controller knows the outcome of, but for the latest keep.
func (s *state) forget(keep int) {
	known := 0
	for _, t := range s.order {
		if t.Recorded {
			known++
		}
	}
	s.order = slices.DeleteFunc(s.order, func(t *Task) bool {
		if !t.Recorded || known <= keep {
			return false
		}
		known--
		delete(s.tasks, t.ID)
		return true
	})
}

// records say the same as all records until now, in fewer. Outcomes that the controller knows lose
// their results: they are kept to answer for the ID.
func (s *state) records() []Record {
	var out []Record
	for _, t := range s.order {
		if t.Delivery != nil && t.Unreadable == "" {
			out = append(out, Record{ID: t.ID, Received: t.Delivery})
		}
		if t.Started > 0 && t.Final == nil {
			out = append(out, Record{ID: t.ID, Started: t.Started})
		}
		if t.Final != nil {
			final := *t.Final
			if t.Recorded {
				final.Result = nil
			}
			out = append(out, Record{ID: t.ID, Finished: &final, Created: t.Created})
		}
		if t.Recorded {
			out = append(out, Record{ID: t.ID, Recorded: true})
		}
	}
	return out
}
