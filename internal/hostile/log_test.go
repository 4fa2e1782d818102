package hostile

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"

	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
)

// maxLine is more than a line of a log may have: what peerlog lets through, escaped once more by the log's handler, and
// what is around it.
const maxLine = 8 << 10

// nasty is text that a terminal would obey, and that grows where it is escaped.
var nasty = strings.Repeat("\x1b[2J\n", 12<<10)

// flood is what a peer sends, to be measured against what it causes in the log.
type flood struct {
	w     *world
	began time.Time
	sent  int // bytes
}

// TestLogOfAStranger has strangers cause log lines over every transport: what they cause of each kind is what a log may
// have, however much they send.
func TestLogOfAStranger(t *testing.T) {
	w := newWorld(t)
	f := &flood{w: w, began: time.Now()}
	w.withstands(func() {
		for i := range 300 {
			vm := fmt.Sprintf("vm-%d", i)
			for _, path := range []string{"commands", "commands/stream", "commands/ws"} {
				f.request(t, http.MethodGet, "/vms/"+vm+"/"+path, "", "no token")
			}
			for _, path := range []string{"commands", "commands/ack", "events", "heartbeat"} {
				f.request(t, http.MethodPost, "/vms/"+vm+"/"+path, "[]", "no token")
			}
		}
		f.overGRPC(t, "stranger", 100, &framed.Frame{N: 1, Close: &framed.Close{Code: "moved", Message: nasty}})
		f.overGRPC(t, "stranger", 100, &framed.Frame{N: 1, Hello: &framed.Hello{Version: 1}})
		conn, err := nats.Connect(w.broker)
		require.NoError(t, err)
		defer conn.Close()
		bad := `{"n":1,"close":{"code":"moved","message":"` + strings.Repeat(`\u001b`, 9<<10) + `"}}`
		for i := range 500 {
			vm := fmt.Sprintf("vm-%d", i)
			for s, hello := range []string{bad, `{"n":1,"hello":{"version":1,"vm_id":"` + vm + `"}}`} {
				f.publish(t, conn, "miglink.hello."+vm, fmt.Sprintf("miglink.down.%s.s-%d-%d", vm, i, s), hello)
			}
			f.publish(t, conn, "miglink.hello.=zz", nasty[:1], bad)
		}
		require.NoError(t, conn.Flush())
		require.Eventually(t, func() bool { return w.refused.Load() >= 300*7+100+500 }, patience, 10*time.Millisecond)
	}, 24)
	f.judge(t, 20)
}

// TestLogOfAVM has a VM with good credentials cause log lines: it has a few of each kind, and hides no other VM's.
func TestLogOfAVM(t *testing.T) {
	w := newWorld(t)
	f := &flood{w: w, began: time.Now()}
	w.withstands(func() {
		instance := strings.Repeat("x", 100)
		for i := range 60 {
			// Each is a newer instance, which fences the one before.
			f.request(t, http.MethodGet, fmt.Sprintf("/vms/bad/commands?instance=%d%s", i, instance), "", "bad")
			f.request(t, http.MethodPost, fmt.Sprintf("/vms/bad/commands/ack?instance=%d%s", i, instance), `[{"command_id":"x"},{}]`, "bad")
		}
		for range 20 {
			conn := w.linked()
			message := fmt.Sprintf(`{"n":2,"close":{"code":"moved","message":"%s"}}`, strings.Repeat(`\u001b`, 100<<10))
			f.sent += len(message)
			require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(message)))
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					break
				}
			}
		}
		f.overGRPC(t, "bad", 20, &framed.Frame{N: 1, Hello: &framed.Hello{Version: 1}}, &framed.Frame{N: 2, Close: &framed.Close{Message: nasty}})
	}, 24)
	f.judge(t, 5)
	require.True(t, strings.Contains(w.logs.String(), "vm_id=good"), "the other VM's lines are hidden")
	require.True(t, strings.Contains(w.logs.String(), "instance fenced"))
}

func (f *flood) request(t *testing.T, method, path, body, token string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.w.addr+"/api/v1"+path, strings.NewReader(body))
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	resp.Body.Close()
	f.sent += len(path) + len(body) + 200
}

// overGRPC begins so many streams with some frames, and waits for the end of each.
func (f *flood) overGRPC(t *testing.T, vm string, times int, frames ...*framed.Frame) {
	t.Helper()
	conn, err := googlegrpc.NewClient(f.w.addr, googlegrpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	both := &googlegrpc.StreamDesc{ClientStreams: true, ServerStreams: true}
	for range times {
		ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+vm)
		stream, err := conn.NewStream(ctx, both, "/miglink.v1.CommandLink/Attach")
		require.NoError(t, err)
		for _, frame := range frames {
			m := &pb.AgentFrame{N: frame.N}
			if frame.Hello != nil {
				name := vm
				if vm == "stranger" {
					name = "somebody" // whose token is another
				}
				m.Frame = &pb.AgentFrame_Hello{Hello: &pb.Hello{Version: 1, VmId: name}}
			} else {
				m.Frame = &pb.AgentFrame_Close{Close: &pb.Close{Code: nasty[:1000], Message: frame.Close.Message}}
				f.sent += len(frame.Close.Message)
			}
			_ = stream.SendMsg(m) // it may have ended by then
		}
		for err == nil {
			err = stream.RecvMsg(&pb.ControllerFrame{})
		}
	}
}

func (f *flood) publish(t *testing.T, conn *nats.Conn, subject, reply, body string) {
	t.Helper()
	f.sent += len(body)
	require.NoError(t, conn.PublishRequest(subject, strings.ReplaceAll(reply, "\x1b", "x"), []byte(body)))
}

// judge wants, of each kind and component, so many lines at most and what was earned since.
func (f *flood) judge(t *testing.T, burst int) {
	t.Helper()
	earned := int(time.Since(f.began).Seconds()) + 1
	all := f.w.logs.String()
	kinds := map[string]int{}
	for line := range strings.Lines(all) {
		require.LessOrEqual(t, len(line), maxLine)
		require.False(t, strings.Contains(line, "\x1b"))
		require.True(t, strings.Contains(line, " msg="), "a line that the log did not begin")
		if strings.Contains(line, "vm_id=good") {
			continue
		}
		_, rest, _ := strings.Cut(line, " msg=")
		kind, _, _ := strings.Cut(rest, " component=")
		kinds[kind+" "+strings.Fields(rest[strings.Index(rest, "component=")+len("component="):])[0]]++
	}
	for kind, lines := range kinds {
		require.LessOrEqual(t, lines, burst+earned, kind)
	}
	require.LessOrEqual(t, len(all), len(kinds)*(burst+earned)*maxLine/4)
	t.Logf("%d KiB of log for %d KiB: %v", len(all)>>10, f.sent>>10, kinds)
}
