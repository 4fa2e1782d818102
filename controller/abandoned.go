package controller

import (
	"encoding/json"
	"strings"

	"github.com/miglink/miglink/event"
)

// mostAbandoned bounds how many runs a VM is believed to have abandoned.
const mostAbandoned = 1 << 20

// abandonedRuns is how many runs an instance has abandoned that go on all the same, as it has reported.
type abandonedRuns struct {
	instance string
	count    int
}

// noteAbandoned takes note of a report of abandoned runs. One that does not decode says nothing.
func (b *mailbox) noteAbandoned(instance string, e event.Event) {
	var said struct {
		Count *int `json:"count"`
	}
	if json.Unmarshal(e.Metadata, &said) != nil || said.Count == nil || *said.Count < 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fencedBy(instance) != "" {
		return
	}
	b.abandoned = nil
	if n := min(*said.Count, mostAbandoned); n > 0 {
		b.abandoned = &abandonedRuns{strings.Clone(instance), n}
	}
}

// countAbandoned is how many runs the VM's present process has abandoned. mu is locked.
func (b *mailbox) countAbandoned() int {
	if r := b.abandoned; r != nil && r.instance == b.linked {
		return r.count
	}
	return 0
}
