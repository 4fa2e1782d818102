package bench

import (
	"context"
	"net/http"

	"connectrpc.com/connect"

	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
	"github.com/miglink/miglink/transport/grpc/miglinkv1/miglinkv1connect"
)

type bareService struct {
	accepted chan *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]
	done     chan struct{}
}

func (s *bareService) Attach(_ context.Context, stream *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]) error {
	if _, err := stream.Receive(); err != nil { // the first message opens the stream
		return err
	}
	s.accepted <- stream
	<-s.done
	return nil
}

// bareGRPC is a stream of connect's.
func bareGRPC(ctx context.Context, o *Options, _ int) (*loop, error) {
	s := &bareService{make(chan *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]), make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle(miglinkv1connect.NewCommandLinkHandler(s))
	l := &loop{}
	url, err := serveHTTP(mux, anyPort, &l.clean)
	if err != nil {
		return l, err
	}
	l.clean.add(func() { close(s.done) })
	if _, err := l.startBare(o, "bare-grpc", url, 1); err != nil {
		return l, err
	}
	command := &pb.ControllerFrame{Frame: &pb.ControllerFrame_Commands{Commands: &pb.Commands{Deliveries: []*pb.Delivery{{
		Command: &pb.Command{Id: probe.ID, Type: probe.Type, Parameters: &pb.Command_UpdateConfig{UpdateConfig: &pb.UpdateConfig{ConfigKey: "k"}}},
	}}}}}
	select {
	case stream := <-s.accepted:
		l.roundTrip = func(context.Context) error {
			if err := stream.Send(command); err != nil {
				return err
			}
			_, err := stream.Receive()
			return err
		}
		return l, nil
	case <-ctx.Done():
		return l, ctx.Err()
	}
}

func bareGRPCAgent(url string, _ int) error {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := miglinkv1connect.NewCommandLinkClient(&http.Client{Transport: &http.Transport{Protocols: protocols}}, url, connect.WithGRPC())
	stream := client.Attach(context.Background())
	err := stream.Send(&pb.AgentFrame{})
	for err == nil {
		var m *pb.ControllerFrame
		if m, err = stream.Receive(); err == nil {
			id := m.GetCommands().GetDeliveries()[0].GetCommand().GetId()
			err = stream.Send(&pb.AgentFrame{Frame: &pb.AgentFrame_Acks{Acks: &pb.Acks{Acks: []*pb.Ack{{CommandId: id, Stage: pb.Stage_STAGE_SUCCEEDED}}}}})
		}
	}
	return err
}
