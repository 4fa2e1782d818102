// Package event defines what an agent tells its controller beside acks: events of the VM's life
// and heartbeats. Field names are the deployed ones.
package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/miglink/miglink/internal/document"
)

// The event types of the deployed system. Others may be sent.
const (
	VMStarted        = "vm_started"
	RunnerRegistered = "runner_registered"
	JobStarted       = "job_started"
	JobHeartbeat     = "job_heartbeat"
	JobCompleted     = "job_completed"
	RunnerCrashed    = "runner_crashed"
	VMShuttingDown   = "vm_shutting_down"
	Error            = "error"
	TypeHeartbeat    = "heartbeat" // an event with a Heartbeat
)

// RunsAbandoned says how many runs an agent has abandoned, since they have outlived their limit, that may still be going on:
// "count" of its metadata. The agent reports it when that changes, and a controller shows it with the VM's presence.
const RunsAbandoned = "runs_abandoned"

// Limits on the fields of an event. They hold on every transport.
const (
	MaxSize  = 64 << 10          // bytes, of metadata
	MaxText  = 1 << 10           // bytes, of each other text
	MaxDepth = document.MaxDepth // objects and arrays within each other, in metadata

	maxType = 128 // bytes
)

// ErrInvalid is wrapped by every validation error of this package.
var ErrInvalid = errors.New("invalid event")

// Event is one thing that happened on a VM.
type Event struct {
	Type      string          `json:"type"`
	Timestamp time.Time       `json:"timestamp"`
	VMID      string          `json:"vm_id"` // the controller overwrites it with the link's identity
	PoolID    string          `json:"pool_id,omitempty"`
	OrgID     string          `json:"org_id,omitempty"`
	Metadata  json.RawMessage `json:"metadata,omitempty"` // an object of the sender's own

	*Heartbeat // of a heartbeat only; its fields stand beside the others in the JSON
}

// Size bounds what e takes on a wire, in bytes: text may grow to six times its length as JSON.
func (e Event) Size() int {
	n := len(e.Type) + len(e.VMID) + len(e.PoolID) + len(e.OrgID)
	if h := e.Heartbeat; h != nil {
		n += len(h.MigletState) + len(h.RunnerState)
		if h.CurrentJob != nil {
			n += len(h.CurrentJob.JobID) + len(h.CurrentJob.RunID)
		}
	}
	return 512 + 6*n + len(e.Metadata)
}

// Limits of one message, which Batch keeps to. They fit every transport.
const (
	MaxBatch      = 256
	MaxBatchBytes = 512 << 10
)

// Batch returns how many of the events, from the first, go into one message: at least one, if there is
// any.
func Batch(events []Event) int {
	size := 0
	for i, e := range events {
		if size += e.Size(); i == MaxBatch || size > MaxBatchBytes && i > 0 {
			return i
		}
	}
	return len(events)
}

// Heartbeat is the state of a VM at one moment.
type Heartbeat struct {
	MigletState string  `json:"miglet_state,omitempty"`
	VMHealth    *Health `json:"vm_health,omitempty"`
	RunnerState string  `json:"runner_state,omitempty"`
	CurrentJob  *Job    `json:"current_job,omitempty"`
}

// Health is the load of a VM: CPU as a share of 1, memory and disk in bytes.
type Health struct {
	CPULoad     float64 `json:"cpu_load"`
	MemoryUsed  uint64  `json:"memory_used"`
	MemoryTotal uint64  `json:"memory_total"`
	DiskUsed    uint64  `json:"disk_used"`
	DiskTotal   uint64  `json:"disk_total"`
}

// Job is the CI job that a runner works on.
type Job struct {
	JobID string `json:"job_id"`
	RunID string `json:"run_id"`
}

// Validate checks that everybody whom an event is passed on to can read it: it has a type; its texts are within their
// limits, UTF-8 and without NUL; the year of its timestamp, in UTC, is 1 to 9999; the load is a number; metadata is an
// object (or null, or left out) of at most MaxSize bytes and MaxDepth levels, without NUL and half surrogate pairs in its
// strings. An error wraps ErrInvalid, and names the field as it is on the wire.
func (e Event) Validate() error {
	if e.Type == "" {
		return fmt.Errorf("%w: type is empty", ErrInvalid)
	}
	err := document.CheckName("type", e.Type, maxType)
	for _, text := range [...]struct{ field, s string }{{"vm_id", e.VMID}, {"pool_id", e.PoolID}, {"org_id", e.OrgID}} {
		if err == nil {
			err = document.CheckText(text.field, text.s, MaxText)
		}
	}
	if y := e.Timestamp.UTC().Year(); err == nil && (y < 1 || y > 9999) {
		err = fmt.Errorf("timestamp is in the year %d, 1 to 9999 are allowed", y)
	}
	if m := bytes.TrimSpace(e.Metadata); err == nil && len(e.Metadata) > 0 && !bytes.Equal(m, []byte("null")) {
		err = document.Check("metadata", e.Metadata, document.Rules{Bytes: MaxSize, Object: true})
	}
	if h := e.Heartbeat; err == nil && h != nil {
		err = h.validate()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

func (h *Heartbeat) validate() error {
	texts := [4]struct{ field, s string }{{"miglet_state", h.MigletState}, {"runner_state", h.RunnerState}}
	if j := h.CurrentJob; j != nil {
		texts[2].field, texts[2].s = "job_id", j.JobID
		texts[3].field, texts[3].s = "run_id", j.RunID
	}
	for _, text := range texts {
		if err := document.CheckText(text.field, text.s, MaxText); err != nil {
			return err
		}
	}
	// Protocol Buffers have numbers that JSON has none for: who watches could not be told.
	if v := h.VMHealth; v != nil && (math.IsNaN(v.CPULoad) || math.IsInf(v.CPULoad, 0)) {
		return fmt.Errorf("cpu_load is %v, which is no number", v.CPULoad)
	}
	return nil
}
