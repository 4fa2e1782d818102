package subjects

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gorilla/websocket"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// handTime bounds one step of a conversation by hand.
const handTime = 10 * time.Second

func framesWS(env *conformance.Env) {
	env.SpeakFrames(func(vm string) (conformance.Frames, error) {
		token, err := env.Token(env.Context())
		if err != nil {
			return nil, err
		}
		d := websocket.Dialer{HandshakeTimeout: handTime, Subprotocols: []string{"miglink.v1"}}
		address := strings.Replace(env.HTTP(), "http://", "ws://", 1) + "/vms/" + url.PathEscape(vm) + "/commands/ws"
		conn, resp, err := d.DialContext(env.Context(), address, http.Header{"Authorization": {"Bearer " + token}})
		if err != nil {
			return nil, err
		}
		resp.Body.Close()
		return &wsFrames{conn}, nil
	})
}

type wsFrames struct{ conn *websocket.Conn }

func (f *wsFrames) Send(b []byte) error {
	_ = f.conn.SetWriteDeadline(time.Now().Add(handTime)) // what follows says why
	return f.conn.WriteMessage(websocket.TextMessage, b)
}

func (f *wsFrames) Recv() ([]byte, error) {
	_, b, err := f.conn.ReadMessage()
	return b, err
}

func (f *wsFrames) Close() error { return f.conn.Close() }

func framesGRPC(env *conformance.Env) {
	env.SpeakFrames(func(string) (conformance.Frames, error) {
		token, err := env.Token(env.Context())
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(env.HTTP())
		if err != nil {
			return nil, err
		}
		conn, err := googlegrpc.NewClient(u.Host, googlegrpc.WithTransportCredentials(insecure.NewCredentials()),
			googlegrpc.WithDefaultCallOptions(googlegrpc.ForceCodecV2(asIs{})))
		if err != nil {
			return nil, err
		}
		ctx := metadata.AppendToOutgoingContext(env.Context(), "authorization", "Bearer "+token)
		both := &googlegrpc.StreamDesc{ClientStreams: true, ServerStreams: true}
		stream, err := conn.NewStream(ctx, both, "/miglink.v1.CommandLink/Attach")
		if err != nil {
			conn.Close()
			return nil, err
		}
		return &grpcFrames{conn, stream}, nil
	})
}

// asIs passes bytes through.
type asIs struct{}

func (asIs) Name() string { return "proto" }

func (asIs) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (asIs) Unmarshal(b mem.BufferSlice, v any) error {
	*v.(*[]byte) = b.Materialize()
	return nil
}

type grpcFrames struct {
	conn   *googlegrpc.ClientConn
	stream googlegrpc.ClientStream
}

func (f *grpcFrames) Send(b []byte) error { return f.stream.SendMsg(toProto(b)) }

func (f *grpcFrames) Recv() ([]byte, error) {
	var b []byte
	if err := f.stream.RecvMsg(&b); err != nil {
		return nil, err
	}
	return fromProto(b)
}

// SendResult implements conformance.BytesResults.
func (f *grpcFrames) SendResult(n int, commandID string, result []byte) error {
	b, err := proto.Marshal(&pb.AgentFrame{N: uint64(n), Frame: &pb.AgentFrame_Acks{Acks: &pb.Acks{
		Acks: []*pb.Ack{{CommandId: commandID, Stage: pb.Stage_STAGE_SUCCEEDED, Result: result}},
	}}})
	if err != nil {
		return err
	}
	return f.stream.SendMsg(b)
}

func (f *grpcFrames) Close() error { return f.conn.Close() }

// toProto translates a frame that is JSON; what cannot be said in Protocol Buffers stays as it is.
func toProto(b []byte) []byte {
	var f framed.Frame
	if json.Unmarshal(b, &f) != nil {
		return b
	}
	m := &pb.AgentFrame{N: f.N}
	switch {
	case f.Hello != nil && (f.Hello.Window < 0 || f.Hello.Version < 0):
		return b
	case f.Hello != nil:
		h := f.Hello
		m.Frame = &pb.AgentFrame_Hello{Hello: &pb.Hello{
			Version: uint32(h.Version), VmId: h.VM, Instance: h.Instance, After: string(h.After), Window: uint32(h.Window), Uplink: h.Uplink, Via: h.Via,
		}}
	case f.Acks != nil:
		acks := &pb.Acks{}
		for _, a := range f.Acks {
			acks.Acks = append(acks.Acks, &pb.Ack{
				CommandId: a.CommandID, Stage: pb.Stage(pb.Stage_value["STAGE_"+strings.ToUpper(string(a.Stage))]), Attempt: uint32(a.Attempt), Reason: a.Reason, Result: a.Result,
			})
		}
		m.Frame = &pb.AgentFrame_Acks{Acks: acks}
	case f.Events != nil:
		events := &pb.Events{}
		for _, e := range *f.Events {
			events.Events = append(events.Events, &pb.Event{Type: e.Type})
		}
		m.Frame = &pb.AgentFrame_Events{Events: events}
	case f.Ping:
		m.Frame = &pb.AgentFrame_Ping{Ping: &pb.Ping{}}
	case f.Pong:
		m.Frame = &pb.AgentFrame_Pong{Pong: &pb.Pong{}}
	}
	out, err := proto.Marshal(m)
	if err != nil {
		return b
	}
	return out
}

// fromProto is a frame of the controller as JSON, as far as a conversation by hand looks at it.
func fromProto(b []byte) ([]byte, error) {
	var m pb.ControllerFrame
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	type object map[string]any
	out := object{"n": m.GetN()}
	switch m := m.GetFrame().(type) {
	case *pb.ControllerFrame_Welcome:
		out["welcome"] = object{"version": m.Welcome.GetVersion()}
	case *pb.ControllerFrame_Commands:
		var commands []object
		for _, d := range m.Commands.GetDeliveries() {
			commands = append(commands, object{"id": d.GetCommand().GetId()})
		}
		out["commands"] = commands
		if upto := m.Commands.GetRecordedUpto(); upto > 0 {
			out["recorded"] = object{"upto": upto}
		}
	case *pb.ControllerFrame_Recorded:
		out["recorded"] = object{"upto": m.Recorded.GetUpto(), "refused": m.Recorded.GetRefused()}
	case *pb.ControllerFrame_Taken:
		out["taken"] = object{"of": m.Taken.GetOf()}
	case *pb.ControllerFrame_Ping:
		out["ping"] = true
	case *pb.ControllerFrame_Pong:
		out["pong"] = true
	case *pb.ControllerFrame_Close:
		out["close"] = object{"code": m.Close.GetCode()}
	}
	return json.Marshal(out)
}

// bounded is the context of one step.
func bounded(env *conformance.Env) (context.Context, context.CancelFunc) {
	return context.WithTimeout(env.Context(), handTime)
}
