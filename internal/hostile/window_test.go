package hostile

import (
	"bytes"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// noWindow is a connection over HTTP/2 whose peer may not send it a byte of any answer's body: its window is 0.
type noWindow struct {
	conn   net.Conn
	framer *http2.Framer
	reads  sync.WaitGroup
}

func newNoWindow(t *testing.T, addr string) *noWindow {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	require.NoError(t, err)
	_, err = io.WriteString(conn, http2.ClientPreface)
	require.NoError(t, err)
	n := &noWindow{conn: conn, framer: http2.NewFramer(conn, conn)}
	require.NoError(t, n.framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	for { // or the server would wait with everything
		f, err := n.framer.ReadFrame()
		require.NoError(t, err)
		if s, ok := f.(*http2.SettingsFrame); ok && !s.IsAck() {
			require.NoError(t, n.framer.WriteSettingsAck())
			break
		}
	}
	t.Cleanup(func() {
		conn.Close()
		n.reads.Wait()
	})
	n.reads.Go(func() { _, _ = io.Copy(io.Discard, conn) })
	return n
}

// attach opens a stream of gRPC.
func (n *noWindow) attach(t *testing.T, stream uint32, addr string) {
	t.Helper()
	var b bytes.Buffer
	e := hpack.NewEncoder(&b)
	for _, f := range [][2]string{
		{":method", "POST"},
		{":scheme", "http"},
		{":authority", addr},
		{":path", "/miglink.v1.CommandLink/Attach"},
		{"content-type", "application/grpc"},
		{"te", "trailers"},
		{"authorization", "Bearer vm"},
	} {
		require.NoError(t, e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	require.NoError(t, n.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: b.Bytes(), EndHeaders: true}))
}

// TestNoWindow has strangers whose windows are 0 be silent until they are to be told that it is too late, and then say
// something: each kind of what ends a handshake, while the reason cannot be sent. It takes as long as a hello may take.
func TestNoWindow(t *testing.T) {
	w := newWorld(t)
	last := map[string][]byte{
		"a message that does not decode":  {0, 0, 0, 0, 2, 0xff, 0xff},
		"a message that is compressed":    {1, 0, 0, 0, 0},
		"a message that is far too large": {0, 0xff, 0xff, 0xff, 0xff},
		"a frame that says nothing":       {0, 0, 0, 0, 0},
		"half a message":                  {0, 0, 0, 0, 9, 1},
	}
	var strangers []*noWindow
	for range 20 {
		n := newNoWindow(t, w.addr)
		for i := range uint32(len(last)) {
			n.attach(t, 2*i+1, w.addr)
		}
		strangers = append(strangers, n)
	}
	w.withstands(func() {
		<-time.After(10*time.Second + 100*time.Millisecond) // for a hello; what follows comes while the reason is told
		for _, n := range strangers {
			stream := uint32(1)
			for _, b := range last {
				_ = n.framer.WriteData(stream, true, b) // the stream may have ended by then
				stream += 2
			}
		}
	}, 8)
	for range 3 {
		succeeds(t, send(t, w.c, "good"))
	}
}
