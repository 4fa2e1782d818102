package grpc

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/miglink/miglink/transport"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// What an empty element takes in memory is not to be had for two bytes each.
func TestListsAreCountedFirst(t *testing.T) {
	acks, err := proto.Marshal(&pb.AgentFrame{N: 1, Frame: &pb.AgentFrame_Acks{Acks: &pb.Acks{Acks: make([]*pb.Ack, 1<<20)}}})
	require.NoError(t, err)
	deliveries, err := proto.Marshal(&pb.ControllerFrame{N: 1, Frame: &pb.ControllerFrame_Commands{Commands: &pb.Commands{Deliveries: make([]*pb.Delivery, 1<<20)}}})
	require.NoError(t, err)
	for _, test := range []struct {
		bytes []byte
		into  proto.Message
	}{{acks, &pb.AgentFrame{}}, {deliveries, &pb.ControllerFrame{}}} {
		before := allocated()
		require.ErrorIs(t, codec{}.Unmarshal(test.bytes, test.into), errTooMany)
		require.Less(t, allocated()-before, uint64(1<<20))
	}
	few, err := proto.Marshal(&pb.AgentFrame{Frame: &pb.AgentFrame_Acks{Acks: &pb.Acks{Acks: make([]*pb.Ack, 256)}}})
	require.NoError(t, err)
	require.NoError(t, codec{}.Unmarshal(few, &pb.AgentFrame{}))
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// FuzzEnvelopes: however the body of a stream is cut into reads, it goes on unchanged up to the first message that
// is not allowed.
func FuzzEnvelopes(f *testing.F) {
	f.Add([]byte("\x00\x00\x00\x00\x02ab\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01c"), 1)
	f.Add([]byte("\x00\xff\xff\xff\xffab"), 3)
	f.Add([]byte("\x01\x00\x00\x00\x02ab"), 7)
	f.Fuzz(func(t *testing.T, body []byte, step int) {
		e := newEnvelopes(io.NopCloser(bytes.NewReader(body)))
		e.most = 64
		var got []byte
		b := make([]byte, 1+max(step, -step)%64)
		for {
			n, err := e.Read(b)
			got = append(got, b[:n]...)
			if err == nil {
				continue
			}
			said := (*transport.Error)(nil)
			require.True(t, errors.Is(err, io.EOF) || errors.As(err, &said))
			require.True(t, strings.HasPrefix(string(body), string(got)))
			if said == nil {
				require.Equal(t, len(body), len(got))
			}
			return
		}
	})
}

// FuzzMessage: what an agent or a controller sends is refused, or becomes a frame.
func FuzzMessage(f *testing.F) {
	hello, err := proto.Marshal(&pb.AgentFrame{N: 1, Frame: &pb.AgentFrame_Hello{Hello: &pb.Hello{Version: 1, VmId: "vm-1"}}})
	require.NoError(f, err)
	f.Add(hello)
	welcome, err := proto.Marshal(&pb.ControllerFrame{N: 1, Frame: &pb.ControllerFrame_Welcome{Welcome: &pb.Welcome{Version: 1}}})
	require.NoError(f, err)
	f.Add(welcome)
	f.Fuzz(func(t *testing.T, b []byte) {
		var a pb.AgentFrame
		if (codec{}).Unmarshal(b, &a) == nil {
			frame := fromAgentFrame(&a)
			require.LessOrEqual(t, len(frame.Acks), 256)
		}
		var c pb.ControllerFrame
		if (codec{}).Unmarshal(b, &c) == nil {
			require.LessOrEqual(t, len(fromControllerFrame(&c).Commands), transport.MaxDeliveries)
		}
	})
}
