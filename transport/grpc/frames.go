package grpc

import (
	"encoding/json"
	"math"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// each maps the elements of a list.
func each[A, B any](list []A, f func(A) B) []B {
	out := make([]B, len(list))
	for i, a := range list {
		out[i] = f(a)
	}
	return out
}

func toTime(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func fromTime(t *timestamppb.Timestamp) time.Time {
	if !t.IsValid() { // nil, or beyond the year 9999
		return time.Time{}
	}
	return t.AsTime()
}

func toDuration(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func toSeconds(s float64) *durationpb.Duration {
	return toDuration(time.Duration(s * float64(time.Second)))
}

// text is s as Protocol Buffers take it, which JSON would have done by itself.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// toCount keeps what makes no sense from wrapping around.
func toCount(n int) uint32 { return uint32(min(max(n, 0), math.MaxInt32)) }

func fromCount(n uint32) int { return int(min(n, math.MaxInt32)) }

// toAgentFrame is a frame of the agent's half.
func toAgentFrame(f *framed.Frame) *pb.AgentFrame {
	out := &pb.AgentFrame{N: f.N}
	switch {
	case f.Hello != nil:
		h := f.Hello
		out.Frame = &pb.AgentFrame_Hello{Hello: &pb.Hello{
			Version: toCount(h.Version), VmId: text(h.VM), Instance: text(h.Instance), After: text(string(h.After)),
			Window: toCount(h.Window), Uplink: h.Uplink, Via: text(h.Via), Time: toTime(h.Time),
		}}
	case f.Acks != nil:
		out.Frame = &pb.AgentFrame_Acks{Acks: &pb.Acks{Acks: each(f.Acks, toAck)}}
	case f.Events != nil:
		out.Frame = &pb.AgentFrame_Events{Events: &pb.Events{Events: each(*f.Events, toEvent)}}
	case f.Ping:
		out.Frame = &pb.AgentFrame_Ping{Ping: &pb.Ping{}}
	case f.Pong:
		out.Frame = &pb.AgentFrame_Pong{Pong: &pb.Pong{}}
	case f.Close != nil:
		out.Frame = &pb.AgentFrame_Close{Close: toClose(*f.Close)}
	}
	return out
}

// fromAgentFrame reads a frame of an agent; one of a later version has nothing but its number.
func fromAgentFrame(m *pb.AgentFrame) *framed.Frame {
	f := &framed.Frame{N: m.GetN()}
	switch m := m.GetFrame().(type) {
	case *pb.AgentFrame_Hello:
		h := m.Hello
		f.Hello = &framed.Hello{Version: fromCount(h.GetVersion()), Hello: transport.Hello{
			VM: h.GetVmId(), Instance: h.GetInstance(), After: transport.Cursor(h.GetAfter()),
			Window: fromCount(h.GetWindow()), Uplink: h.GetUplink(), Via: h.GetVia(), Time: fromTime(h.GetTime()),
		}}
	case *pb.AgentFrame_Acks:
		f.Acks = each(m.Acks.GetAcks(), fromAck)
	case *pb.AgentFrame_Events:
		events := each(m.Events.GetEvents(), fromEvent)
		f.Events = &events
	case *pb.AgentFrame_Ping:
		f.Ping = true
	case *pb.AgentFrame_Pong:
		f.Pong = true
	case *pb.AgentFrame_Close:
		f.Close = fromClose(m.Close)
	}
	return f
}

// toControllerFrame is a frame of the controller's half.
func toControllerFrame(f *framed.Frame) *pb.ControllerFrame {
	out := &pb.ControllerFrame{N: f.N}
	switch {
	case f.Welcome != nil:
		out.Frame = &pb.ControllerFrame_Welcome{Welcome: &pb.Welcome{
			Version: toCount(f.Welcome.Version), Keepalive: toSeconds(f.Welcome.Keepalive),
		}}
	case f.Commands != nil:
		commands := &pb.Commands{Deliveries: each(f.Commands, toDelivery)}
		if f.Recorded != nil {
			commands.RecordedUpto = f.Recorded.Upto
		}
		out.Frame = &pb.ControllerFrame_Commands{Commands: commands}
	case f.Recorded != nil:
		out.Frame = &pb.ControllerFrame_Recorded{Recorded: &pb.Recorded{
			Upto: f.Recorded.Upto,
			Refused: each(f.Recorded.Refused, func(r framed.Refused) *pb.Refused {
				return &pb.Refused{Frame: r.Frame, Index: toCount(r.Index), Error: toClose(r.Close)}
			}),
		}}
	case f.Taken != nil:
		taken := &pb.Taken{Of: f.Taken.Of}
		if f.Taken.Error != nil {
			taken.Error = toClose(*f.Taken.Error)
		}
		out.Frame = &pb.ControllerFrame_Taken{Taken: taken}
	case f.Ping:
		out.Frame = &pb.ControllerFrame_Ping{Ping: &pb.Ping{}}
	case f.Pong:
		out.Frame = &pb.ControllerFrame_Pong{Pong: &pb.Pong{}}
	case f.Close != nil:
		out.Frame = &pb.ControllerFrame_Close{Close: toClose(*f.Close)}
	}
	return out
}

// fromControllerFrame reads a frame of a controller.
func fromControllerFrame(m *pb.ControllerFrame) *framed.Frame {
	f := &framed.Frame{N: m.GetN()}
	switch m := m.GetFrame().(type) {
	case *pb.ControllerFrame_Welcome:
		f.Welcome = &framed.Welcome{
			Version: fromCount(m.Welcome.GetVersion()), Keepalive: m.Welcome.GetKeepalive().AsDuration().Seconds(),
		}
	case *pb.ControllerFrame_Commands:
		f.Commands = each(m.Commands.GetDeliveries(), fromDelivery)
		if upto := m.Commands.GetRecordedUpto(); upto != 0 {
			f.Recorded = &framed.Recorded{Upto: upto}
		}
	case *pb.ControllerFrame_Recorded:
		f.Recorded = &framed.Recorded{
			Upto: m.Recorded.GetUpto(),
			Refused: each(m.Recorded.GetRefused(), func(r *pb.Refused) framed.Refused {
				return framed.Refused{Frame: r.GetFrame(), Index: fromCount(r.GetIndex()), Close: *fromClose(r.GetError())}
			}),
		}
	case *pb.ControllerFrame_Taken:
		f.Taken = &framed.Taken{Of: m.Taken.GetOf()}
		if m.Taken.GetError() != nil {
			f.Taken.Error = fromClose(m.Taken.GetError())
		}
	case *pb.ControllerFrame_Ping:
		f.Ping = true
	case *pb.ControllerFrame_Pong:
		f.Pong = true
	case *pb.ControllerFrame_Close:
		f.Close = fromClose(m.Close)
	}
	return f
}

func toDelivery(d transport.Delivery) *pb.Delivery {
	c := &pb.Command{
		Id: d.ID, Type: string(d.Type), CreatedAt: toTime(d.CreatedAt), ExpiresAt: toTime(d.ExpiresAt),
		IdempotencyKey: d.IdempotencyKey, SupersedeKey: d.SupersedeKey, Urgent: d.Urgent, RunTimeout: d.RunTimeout.Count(),
	}
	setParameters(c, d.Command)
	return &pb.Delivery{
		Cursor: string(d.Cursor), Attempt: toCount(d.Attempt), Started: d.Started,
		AckWithin: toDuration(time.Duration(d.AckWithin)), ExpiresIn: d.ExpiresIn, Command: c,
	}
}

func fromDelivery(d *pb.Delivery) transport.Delivery {
	c := d.GetCommand()
	return transport.Delivery{
		Cursor: transport.Cursor(d.GetCursor()), Attempt: fromCount(d.GetAttempt()), Started: d.GetStarted(),
		AckWithin: command.Duration(d.GetAckWithin().AsDuration()),
		ExpiresIn: d.GetExpiresIn(),
		Command: command.Command{
			ID: c.GetId(), Type: command.Type(c.GetType()), CreatedAt: fromTime(c.GetCreatedAt()), ExpiresAt: fromTime(c.GetExpiresAt()),
			IdempotencyKey: c.GetIdempotencyKey(), SupersedeKey: c.GetSupersedeKey(), Urgent: c.GetUrgent(),
			RunTimeout: command.MillisecondsOf(c.GetRunTimeout()),
			Parameters: parameters(c),
		},
	}
}

// stages are what an agent may say; any other is unspecified, which the controller refuses.
var stages = map[ack.Stage]pb.Stage{
	ack.Received:    pb.Stage_STAGE_RECEIVED,
	ack.Started:     pb.Stage_STAGE_STARTED,
	ack.Progress:    pb.Stage_STAGE_PROGRESS,
	ack.Deferred:    pb.Stage_STAGE_DEFERRED,
	ack.Succeeded:   pb.Stage_STAGE_SUCCEEDED,
	ack.Failed:      pb.Stage_STAGE_FAILED,
	ack.Rejected:    pb.Stage_STAGE_REJECTED,
	ack.Expired:     pb.Stage_STAGE_EXPIRED,
	ack.Canceled:    pb.Stage_STAGE_CANCELED,
	ack.Superseded:  pb.Stage_STAGE_SUPERSEDED,
	ack.Interrupted: pb.Stage_STAGE_INTERRUPTED,
}

var stageNames = func() map[pb.Stage]ack.Stage {
	names := make(map[pb.Stage]ack.Stage, len(stages))
	for name, s := range stages {
		names[s] = name
	}
	return names
}()

func toAck(a ack.Ack) *pb.Ack {
	return &pb.Ack{
		CommandId: text(a.CommandID), Stage: stages[a.Stage], Attempt: toCount(a.Attempt), Time: toTime(a.Time),
		Code: text(string(a.Code)), Reason: text(a.Reason), Result: a.Result, RetryAfter: toSeconds(a.RetryAfter), Run: text(a.Run), Again: a.Again, CreatedAt: toTime(a.CreatedAt), EndsIn: a.EndsIn,
	}
}

func fromAck(a *pb.Ack) ack.Ack {
	return ack.Ack{
		CommandID: a.GetCommandId(), Stage: stageNames[a.GetStage()], Attempt: fromCount(a.GetAttempt()), Time: fromTime(a.GetTime()),
		Code: ack.Code(a.GetCode()), Reason: a.GetReason(), Result: jsonOf(a.GetResult()), RetryAfter: a.GetRetryAfter().AsDuration().Seconds(), Run: a.GetRun(), Again: a.GetAgain(), CreatedAt: fromTime(a.GetCreatedAt()), EndsIn: a.GetEndsIn(),
	}
}

// jsonOf is a JSON document, which an empty string is not.
func jsonOf(b []byte) json.RawMessage {
	if len(b) == 0 {
		return nil
	}
	return b
}

func toEvent(e event.Event) *pb.Event {
	out := &pb.Event{Type: text(e.Type), Timestamp: toTime(e.Timestamp), VmId: text(e.VMID), PoolId: text(e.PoolID), OrgId: text(e.OrgID), Metadata: e.Metadata}
	if h := e.Heartbeat; h != nil {
		out.Heartbeat = &pb.Heartbeat{MigletState: text(h.MigletState), RunnerState: text(h.RunnerState)}
		if v := h.VMHealth; v != nil {
			out.Heartbeat.VmHealth = &pb.Health{
				CpuLoad: v.CPULoad, MemoryUsed: v.MemoryUsed, MemoryTotal: v.MemoryTotal, DiskUsed: v.DiskUsed, DiskTotal: v.DiskTotal,
			}
		}
		if j := h.CurrentJob; j != nil {
			out.Heartbeat.CurrentJob = &pb.Job{JobId: text(j.JobID), RunId: text(j.RunID)}
		}
	}
	return out
}

func fromEvent(e *pb.Event) event.Event {
	out := event.Event{
		Type: e.GetType(), Timestamp: fromTime(e.GetTimestamp()), VMID: e.GetVmId(), PoolID: e.GetPoolId(), OrgID: e.GetOrgId(),
		Metadata: jsonOf(e.GetMetadata()),
	}
	if h := e.GetHeartbeat(); h != nil {
		out.Heartbeat = &event.Heartbeat{MigletState: h.GetMigletState(), RunnerState: h.GetRunnerState()}
		if v := h.GetVmHealth(); v != nil {
			out.VMHealth = &event.Health{
				CPULoad: v.GetCpuLoad(), MemoryUsed: v.GetMemoryUsed(), MemoryTotal: v.GetMemoryTotal(), DiskUsed: v.GetDiskUsed(), DiskTotal: v.GetDiskTotal(),
			}
		}
		if j := h.GetCurrentJob(); j != nil {
			out.CurrentJob = &event.Job{JobID: j.GetJobId(), RunID: j.GetRunId()}
		}
	}
	return out
}

func toClose(c framed.Close) *pb.Close {
	return &pb.Close{Code: text(string(c.Code)), Message: text(c.Message), RetryAfter: toSeconds(c.RetryAfter)}
}

func fromClose(c *pb.Close) *framed.Close {
	return &framed.Close{Code: transport.Code(c.GetCode()), Message: c.GetMessage(), RetryAfter: c.GetRetryAfter().AsDuration().Seconds()}
}
