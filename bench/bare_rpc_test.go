package bench_test

import (
	"context"
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

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

func bareGRPC(b *testing.B) func() {
	s := &bareService{make(chan *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]), make(chan struct{})}
	mux := http.NewServeMux()
	mux.Handle(miglinkv1connect.NewCommandLinkHandler(s))
	url := serveHTTP(b, mux)
	b.Cleanup(func() { close(s.done) })
	startAgents(b, "bare-grpc", url, 1)
	stream := <-s.accepted
	command := &pb.ControllerFrame{Frame: &pb.ControllerFrame_Commands{Commands: &pb.Commands{Deliveries: []*pb.Delivery{{
		Command: &pb.Command{Id: probe.ID, Type: probe.Type, Parameters: &pb.Command_UpdateConfig{UpdateConfig: &pb.UpdateConfig{ConfigKey: "k"}}},
	}}}}}
	return func() {
		require.NoError(b, stream.Send(command))
		_, err := stream.Receive()
		require.NoError(b, err)
	}
}

func bareGRPCAgent(url string) error {
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

func bareNATS(b *testing.B) func() {
	url := startBroker(b)
	startAgents(b, "bare-nats", url, 1)
	conn, err := natsgo.Connect(url)
	require.NoError(b, err)
	b.Cleanup(conn.Close)
	data, err := json.Marshal(probe)
	require.NoError(b, err)
	for { // until the agent has subscribed
		if _, err := conn.Request("commands", data, time.Second); err == nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return func() {
		m, err := conn.Request("commands", data, time.Minute)
		require.NoError(b, err)
		var a answer
		require.NoError(b, json.Unmarshal(m.Data, &a))
	}
}

func bareNATSAgent(url string) error {
	conn, err := natsgo.Connect(url)
	if err != nil {
		return err
	}
	ended := make(chan error, 1)
	_, err = conn.Subscribe("commands", func(m *natsgo.Msg) {
		var c message
		err := json.Unmarshal(m.Data, &c)
		var data []byte
		if err == nil {
			data, err = json.Marshal(answer{c.ID, "processed"})
		}
		if err == nil {
			err = m.Respond(data)
		}
		if err != nil {
			ended <- err
		}
	})
	if err != nil {
		return err
	}
	return <-ended
}
