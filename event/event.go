// Package event defines what an agent tells its controller beside acks: events of the VM's life
// and heartbeats. Field names are the deployed ones.
package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"time"
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

// MaxSize bounds one event as JSON, in bytes.
const MaxSize = 64 << 10

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

// Validate requires a type, and metadata that is an object within [MaxSize].
func (e Event) Validate() error {
	if e.Type == "" {
		return fmt.Errorf("%w: type is empty", ErrInvalid)
	}
	if len(e.Type) > 128 {
		return fmt.Errorf("%w: type has %d bytes, at most 128 are allowed", ErrInvalid, len(e.Type))
	}
	if len(e.Metadata) > MaxSize {
		return fmt.Errorf("%w: metadata has %d bytes, at most %d are allowed", ErrInvalid, len(e.Metadata), MaxSize)
	}
	if m := bytes.TrimSpace(e.Metadata); len(m) > 0 && !bytes.Equal(m, []byte("null")) && (m[0] != '{' || !json.Valid(m)) {
		return fmt.Errorf("%w: metadata is no JSON object", ErrInvalid)
	}
	return nil
}
