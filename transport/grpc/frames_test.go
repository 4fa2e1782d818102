package grpc

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 123456789, time.UTC)

// Every frame arrives as it was sent, all fields set.
func TestFramesArrive(t *testing.T) {
	t.Parallel()
	closing := framed.Close{Code: transport.CodeUnavailable, Message: "stopping", RetryAfter: 1.5}
	for _, f := range []framed.Frame{
		{Hello: &framed.Hello{Version: 1, Hello: transport.Hello{VM: "vm-1", Instance: "i", After: "e.1.0", Window: 7, Uplink: true, Via: "sse", Time: noon}}},
		{Acks: []ack.Ack{
			{CommandID: "c", Stage: ack.Deferred, Attempt: 2, Time: noon, Code: "no_room", Reason: "busy", RetryAfter: 2.5},
			{CommandID: "e", Stage: ack.Started, Run: "r", Again: true, CreatedAt: time.UnixMilli(1_700_000_000_123).UTC(), EndsIn: 70_000},
			{CommandID: "d", Stage: ack.Succeeded, Result: json.RawMessage(`{"a":1}`)},
		}},
		{Events: &[]event.Event{}},
		{Events: &[]event.Event{{
			Type: "heartbeat", Timestamp: noon, VMID: "vm-1", PoolID: "p", OrgID: "o", Metadata: json.RawMessage(`{"a":1}`),
			Heartbeat: &event.Heartbeat{
				MigletState: "idle", RunnerState: "online",
				VMHealth:   &event.Health{CPULoad: 0.5, MemoryUsed: 1, MemoryTotal: 2, DiskUsed: 3, DiskTotal: 4},
				CurrentJob: &event.Job{JobID: "j", RunID: "r"},
			},
		}}},
		{Ping: true},
		{Pong: true},
		{Close: &closing},
		{},
	} {
		f.N = 7
		b, err := proto.Marshal(toAgentFrame(&f))
		require.NoError(t, err)
		var m pb.AgentFrame
		require.NoError(t, proto.Unmarshal(b, &m))
		require.Equal(t, &f, fromAgentFrame(&m))
	}
	for _, f := range []framed.Frame{
		{Welcome: &framed.Welcome{Version: 1, Keepalive: 15}},
		{Commands: []transport.Delivery{{
			Cursor: "e.1.0", Attempt: 2, Started: true, AckWithin: command.Duration(30 * time.Second), ExpiresIn: 1500,
			Command: command.Command{
				ID: "c", Type: "levitate", Parameters: command.Parameters(`{ "height": 1.50 }`), CreatedAt: noon, ExpiresAt: noon.Add(time.Hour),
				IdempotencyKey: "k", SupersedeKey: "s", Urgent: true, RunTimeout: command.MillisecondsOf(1500),
			},
		}}},
		{Recorded: &framed.Recorded{Upto: 9, Refused: []framed.Refused{{Frame: 8, Index: 1, Close: closing}}}},
		{Taken: &framed.Taken{Of: 3}},
		{Taken: &framed.Taken{Of: 3, Error: &closing}},
		{Ping: true},
		{Pong: true},
		{Close: &closing},
		{},
	} {
		f.N = 7
		b, err := proto.Marshal(toControllerFrame(&f))
		require.NoError(t, err)
		var m pb.ControllerFrame
		require.NoError(t, proto.Unmarshal(b, &m))
		got := fromControllerFrame(&m)
		require.NoError(t, err)
		require.Equal(t, &f, got)
	}
}

// Parameters arrive byte for byte: typed where the type holds all of them, as JSON otherwise.
func TestParametersArrive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		typ   command.Type
		json  string
		typed bool
	}{
		{"register_runner", `{"registration_token":"t","runner_url":"https://x","labels":["a","b"],"expires_at":"2026-01-02T12:00:00Z"}`, true},
		{"register_runner", `{"runner_url":"https://x","registration_token":"t"}`, false}, // in another order
		{"drain", `{"reason":"\u2028","timeout":"1m30s"}`, true},
		{"drain", `{}`, true},
		{"drain", `{"reason":"deploy","of_a_later_version":true}`, false},
		{"drain", `{ "reason": "deploy" }`, false},
		{"shutdown", `{"reason":"over","force":true}`, true},
		{"update_config", `{"config_key":"k","config_value":{"a":[1,"x",null,true]}}`, true},
		{"update_config", `{"config_key":"k","config_value":9007199254740993}`, false}, // no double holds it
		{"update_config", `{"config_key":"k"}`, false},
		{"set_log_level", `{"level":"debug"}`, true},
		{"set_log_level", `{"level":7}`, false},
		{"cancel", `{"command_id":"c"}`, false},
		{"mine", `{"x":"\ud800"}`, false},
		{"update_config", `{"config_key":"k","config_value":` + nested(mostTyped-1) + `}`, true},
		{"update_config", `{"config_key":"k","config_value":` + nested(mostTyped) + `}`, false},
	} {
		c := command.Command{ID: "c", Type: test.typ, Parameters: command.Parameters(test.json)}
		m := toDelivery(transport.Delivery{Command: c})
		_, isJSON := m.Command.GetParameters().(*pb.Command_Json)
		require.Equal(t, test.typed, !isJSON, test.json)
		b, err := proto.Marshal(m)
		require.NoError(t, err, test.json)
		var back pb.Delivery
		require.NoError(t, proto.Unmarshal(b, &back))
		require.Equal(t, test.json, string(fromDelivery(&back).Parameters))
	}
	// What is no JSON ends no link: it can be passed on, and no agent runs it.
	for _, c := range []*pb.Command{
		{Id: "c", Parameters: &pb.Command_Json{Json: []byte("{")}},
		{Id: "c", Parameters: &pb.Command_Json{}},
	} {
		d := fromDelivery(&pb.Delivery{Command: c})
		require.True(t, json.Valid(d.Parameters))
		require.ErrorIs(t, d.Parameters.Validate(), command.ErrInvalid)
	}
}

func nested(depth int) string { return strings.Repeat("[", depth) + strings.Repeat("]", depth) }

// What JSON would have made readable by itself does not end a link: text that is not UTF-8, numbers that
// make no sense, stages that are none.
func TestOddValues(t *testing.T) {
	t.Parallel()
	_, err := proto.Marshal(toAgentFrame(&framed.Frame{
		Hello: &framed.Hello{Version: -1, Hello: transport.Hello{VM: "\xff", Instance: "\xff", After: "\xff", Window: -1, Via: "\xff"}},
	}))
	require.NoError(t, err)
	m := toAgentFrame(&framed.Frame{Acks: []ack.Ack{{CommandID: "c\xff", Stage: "made_up", Attempt: -1, Code: "\xff", Reason: "\xff"}}})
	_, err = proto.Marshal(m)
	require.NoError(t, err)
	require.ErrorIs(t, fromAgentFrame(m).Acks[0].Validate(), ack.ErrInvalid)
}

// FuzzFrames decodes what a peer may send; what decodes can be sent on.
func FuzzFrames(f *testing.F) {
	for _, m := range []*framed.Frame{
		{N: 1, Hello: &framed.Hello{Version: 1, Hello: transport.Hello{VM: "vm-1"}}},
		{N: 2, Acks: []ack.Ack{{CommandID: "c", Stage: ack.Started}}},
	} {
		b, err := proto.Marshal(toAgentFrame(m))
		require.NoError(f, err)
		f.Add(b)
	}
	b, err := proto.Marshal(toControllerFrame(&framed.Frame{N: 2, Commands: []transport.Delivery{{Command: command.Command{ID: "c", Type: "drain", Parameters: []byte(`{}`)}}}}))
	require.NoError(f, err)
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		var agent pb.AgentFrame
		if proto.Unmarshal(b, &agent) == nil {
			frame := fromAgentFrame(&agent)
			if _, err := json.Marshal(frame); err != nil && frame.Events == nil && frame.Acks == nil { // these hold raw JSON, which the controller checks
				t.Fatal(err)
			}
		}
		var controller pb.ControllerFrame
		if proto.Unmarshal(b, &controller) == nil {
			frame := fromControllerFrame(&controller)
			var out bytes.Buffer
			if err := framed.Encode(&out, frame); err != nil {
				t.Fatal(err)
			}
		}
	})
}
