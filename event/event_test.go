package event_test

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/event"
)

func TestDeployedJSON(t *testing.T) {
	t.Parallel()
	for _, wire := range []string{
		`{"type":"vm_started","timestamp":"2026-01-02T03:04:05Z","vm_id":"vm-1","pool_id":"p","org_id":"o","metadata":{"zone":"a"}}`,
		`{"type":"heartbeat","timestamp":"2026-01-02T03:04:05Z","vm_id":"vm-1","miglet_state":"idle","vm_health":{"cpu_load":0.5,"memory_used":1,"memory_total":2,"disk_used":3,"disk_total":4},"runner_state":"online","current_job":{"job_id":"j","run_id":"r"}}`,
	} {
		var e event.Event
		require.NoError(t, json.Unmarshal([]byte(wire), &e))
		require.NoError(t, e.Validate())
		b, err := json.Marshal(e)
		require.NoError(t, err)
		require.Equal(t, wire, string(b))
	}
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	for want, e := range map[string]event.Event{
		"type is empty":               {},
		"type: 129 bytes":             {Type: strings.Repeat("x", 129)},
		`type: "a\n" holds a control`: {Type: "a\n"},
		"vm_id: 1025 bytes":           {Type: "x", VMID: strings.Repeat("x", event.MaxText+1)},
		"pool_id: not UTF-8":          {Type: "x", PoolID: "\xff"},
		"org_id: holds a NUL":         {Type: "x", OrgID: "\x00"},
		"timestamp is in the year 10": {Type: "x", Timestamp: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)},
		"timestamp is in the year 0":  {Type: "x", Timestamp: time.Date(0, 12, 31, 0, 0, 0, 0, time.UTC)},
		"miglet_state: 1025 bytes":    {Type: "x", Heartbeat: &event.Heartbeat{MigletState: strings.Repeat("x", event.MaxText+1)}},
		"runner_state: not UTF-8":     {Type: "x", Heartbeat: &event.Heartbeat{RunnerState: "\xff"}},
		"job_id: holds a NUL":         {Type: "x", Heartbeat: &event.Heartbeat{CurrentJob: &event.Job{JobID: "\x00"}}},
		"run_id: 1025 bytes":          {Type: "x", Heartbeat: &event.Heartbeat{CurrentJob: &event.Job{RunID: strings.Repeat("x", event.MaxText+1)}}},
		"cpu_load is NaN":             {Type: "x", Heartbeat: &event.Heartbeat{VMHealth: &event.Health{CPULoad: math.NaN()}}},
		"cpu_load is -Inf":            {Type: "x", Heartbeat: &event.Heartbeat{VMHealth: &event.Health{CPULoad: math.Inf(-1)}}},
		"metadata: 65537 bytes":       {Type: "x", Metadata: make([]byte, event.MaxSize+1)},
		"metadata: not a JSON object": {Type: "x", Metadata: []byte("[1]")},
		"metadata: not JSON":          {Type: "x", Metadata: []byte("{")},
		"metadata: nested more than":  {Type: "x", Metadata: []byte(`{"a":` + strings.Repeat("[", 64) + strings.Repeat("]", 64) + "}")},
		"metadata: a string holds a":  {Type: "x", Metadata: []byte(`{"\u0000":1}`)},
	} {
		err := e.Validate()
		require.ErrorIs(t, err, event.ErrInvalid)
		require.ErrorContains(t, err, want)
	}
	for _, m := range []string{"", "null", " null\n", "{}", `{"a":` + strings.Repeat("[", 63) + strings.Repeat("]", 63) + "}"} {
		require.NoError(t, event.Event{Type: "x", Metadata: []byte(m)}.Validate(), m)
	}
}

// A batch is within both of its limits, and at least one; what an event takes is not less than its JSON.
func TestBatch(t *testing.T) {
	t.Parallel()
	require.Zero(t, event.Batch(nil))
	require.Equal(t, event.MaxBatch, event.Batch(make([]event.Event, event.MaxBatch+1)))
	require.Equal(t, 3, event.Batch(make([]event.Event, 3)))
	half := event.Event{Metadata: make([]byte, event.MaxBatchBytes/2-event.Event{}.Size())}
	require.Equal(t, 2, event.Batch([]event.Event{half, half, {}}), "the limit itself is allowed")
	huge := event.Event{PoolID: strings.Repeat("x", event.MaxBatchBytes)}
	require.Equal(t, 1, event.Batch([]event.Event{huge, huge}))

	text := strings.Repeat("\x01", event.MaxText)
	for _, h := range []*event.Heartbeat{{MigletState: text}, {RunnerState: text, VMHealth: &event.Health{CPULoad: 0.1, MemoryUsed: math.MaxUint64}}, {CurrentJob: &event.Job{JobID: text, RunID: text}}} {
		e := event.Event{Type: "x", VMID: text, OrgID: text, Heartbeat: h}
		b, err := json.Marshal(e)
		require.NoError(t, err)
		require.GreaterOrEqual(t, e.Size(), len(b))
	}
}

func FuzzEvent(f *testing.F) {
	f.Add([]byte(`{"type":"heartbeat","vm_health":{"cpu_load":1e308}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var e event.Event
		if json.Unmarshal(b, &e) != nil || e.Validate() != nil {
			return
		}
		wire, err := json.Marshal(e)
		require.NoError(t, err)
		require.NoError(t, json.Unmarshal(wire, new(event.Event)))
	})
}

func ExampleEvent() {
	b, err := json.Marshal(event.Event{Type: event.TypeHeartbeat, VMID: "vm-1", Heartbeat: &event.Heartbeat{MigletState: "idle"}})
	fmt.Println(string(b), err)
	// Output: {"type":"heartbeat","timestamp":"0001-01-01T00:00:00Z","vm_id":"vm-1","miglet_state":"idle"} <nil>
}
