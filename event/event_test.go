package event_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

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
		"type is empty":            {},
		"type has 129 bytes":       {Type: strings.Repeat("x", 129)},
		"metadata has 65537 bytes": {Type: "x", Metadata: make([]byte, event.MaxSize+1)},
		"metadata is no JSON":      {Type: "x", Metadata: []byte("[1]")},
	} {
		err := e.Validate()
		require.ErrorIs(t, err, event.ErrInvalid)
		require.ErrorContains(t, err, want)
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
