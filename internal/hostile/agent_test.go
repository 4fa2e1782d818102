package hostile

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/httplink"
)

// dial opens a WebSocket as the VM "bad".
func (w *world) dial() *websocket.Conn {
	w.t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"miglink.v1"}, HandshakeTimeout: patience, EnableCompression: true}
	conn, resp, err := d.Dial("ws://"+w.addr+"/api/v1/vms/bad/commands/ws", http.Header{"Authorization": {"Bearer bad"}})
	require.NoError(w.t, err)
	require.Empty(w.t, resp.Header.Get("Sec-WebSocket-Extensions"), "compression was agreed on")
	w.t.Cleanup(func() { conn.Close() })
	return conn
}

func (w *world) linked() *websocket.Conn {
	conn := w.dial()
	require.NoError(w.t, conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1,"hello":{"version":1,"instance":"bad"}}`)))
	_, b, err := conn.ReadMessage()
	require.NoError(w.t, err)
	require.Contains(w.t, string(b), "welcome")
	return conn
}

// Frames without end: acks of commands that are nobody's or another's, events, pings, of later versions.
func TestFlood(t *testing.T) {
	w := newWorld(t)
	foreign := send(t, w.c, "victim")
	w.withstands(func() {
		conn := w.linked()
		go func() { // the answers
			for {
				if _, _, err := conn.ReadMessage(); err != nil {
					return
				}
			}
		}()
		n := 1
		for range 1000 {
			for _, f := range []string{
				`"acks":[{"command_id":"nobody","status":"succeeded"},{"command_id":"` + foreign.ID() + `","status":"failed"}]`,
				`"events":[{"type":"x"},{"type":""}]`, `"events":[]`, `"ping":true`, `"pong":true`, `"later":[{}]`,
			} {
				n++
				if conn.WriteMessage(websocket.TextMessage, fmt.Appendf(nil, `{"n":%d,%s}`, n, f)) != nil {
					return
				}
			}
		}
		conn.Close()
	}, 8)
	e, err := w.c.Get(t.Context(), foreign.ID())
	require.NoError(t, err)
	require.False(t, e.State.Settled())
}

// A VM that takes commands and never reads them has what its socket holds, and no more.
func TestNeverReads(t *testing.T) {
	w := newWorld(t)
	var links []*websocket.Conn
	for range 20 {
		links = append(links, w.linked()) // each replaces the one before, which is not told
	}
	parameters := command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", 100<<10)}
	for range 50 { // what the ledger holds is not the link's
		cmd, err := command.New(parameters, command.Options{})
		require.NoError(t, err)
		_, err = w.c.Send(t.Context(), "bad", cmd)
		require.NoError(t, err)
	}
	w.withstands(func() {
		for range 20 {
			links = append(links, w.linked())
		}
	}, 16)
	for _, l := range links {
		l.Close()
	}
}

// Half a frame, half a hello, half a request, and then silence.
func TestHalf(t *testing.T) {
	w := newWorld(t)
	w.withstands(func() {
		for range 100 {
			raw := w.dial().NetConn()
			_, _ = raw.Write([]byte{0x81, 0xFF, 0, 0, 0, 0, 0, 0x1F, 0xFF, 0xFF, 1, 2, 3, 4, '{'}) // of 2 MiB
			w.dial()
			conn, err := net.Dial("tcp", w.addr)
			require.NoError(w.t, err)
			w.t.Cleanup(func() { conn.Close() })
			_, _ = io.WriteString(conn, "POST /api/v1/vms/bad/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\nContent-Length: 1000000\r\n\r\n[")
		}
	}, 24)
}

// forever writes until the other end has had enough, and returns how much that was, and its answer.
func (w *world) forever(begin, more string) (written int, answer string) {
	conn, err := net.Dial("tcp", w.addr)
	require.NoError(w.t, err)
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	answered := make(chan string, 1)
	go func() {
		b := make([]byte, 512)
		n, _ := conn.Read(b)
		answered <- string(b[:n])
	}()
	n, err := io.WriteString(conn, begin)
	for written = n; err == nil && written < 64<<20; written += n {
		n, err = io.WriteString(conn, more)
	}
	return written, <-answered
}

func TestEndless(t *testing.T) {
	w := newWorld(t)
	w.withstands(func() {
		for range 4 {
			written, _ := w.forever("GET /api/v1/vms/bad/commands HTTP/1.1\r\nHost: x\r\n", "X-"+strings.Repeat("y", 1000)+": z\r\n")
			require.Less(w.t, written, 16<<20, "headers without end were read")
			written, _ = w.forever("GET /"+strings.Repeat("x", 1000), strings.Repeat("x", 1000))
			require.Less(w.t, written, 16<<20, "a path without end was read")
			chunk := fmt.Sprintf("%x\r\n%s\r\n", 64<<10, strings.Repeat(" ", 64<<10))
			written, _ = w.forever("POST /api/v1/vms/bad/commands/ack HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer bad\r\nTransfer-Encoding: chunked\r\n\r\n", chunk)
			require.Less(w.t, written, 16<<20, "a body without end was read")
		}
	}, 8)
}

// A message in parts, without a last one.
func TestEndlessMessage(t *testing.T) {
	w := newWorld(t)
	w.withstands(func() {
		for range 4 {
			conn := w.linked().NetConn()
			part := append([]byte{0x01, 0x80 | 127, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0}, bytes.Repeat([]byte{' '}, 64<<10)...) // of text, masked with zeros
			written := 0
			for written < 64<<20 {
				n, err := conn.Write(part)
				if written += n; err != nil {
					break
				}
				part[0] = 0x00 // it goes on
			}
			require.Less(w.t, written, 16<<20, "a message without end was read")
			conn.Close()
		}
	}, 8)
	require.Contains(t, w.logs.String(), "code=too_large")
}

// What is small and would be large once unpacked is not unpacked, on any way in.
func TestBombs(t *testing.T) {
	w := newWorld(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 16<<20)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	client := http2Client()
	defer client.CloseIdleConnections()
	w.withstands(func() {
		status, _ := w.post(client, "/api/v1/vms/bad/commands/ack", http.Header{"Content-Encoding": {"gzip"}}, bomb.Bytes())
		require.Equal(w.t, http.StatusBadRequest, status)
		message := append(binary.BigEndian.AppendUint32([]byte{1}, uint32(bomb.Len())), bomb.Bytes()...)
		grpc := http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		_, trailer := w.post(client, "/miglink.v1.CommandLink/Attach", grpc, message)
		require.Equal(w.t, "3", trailer.Get("Grpc-Status"), "%v", trailer) // INVALID_ARGUMENT
		grpc.Set("Grpc-Encoding", "gzip")
		_, trailer = w.post(client, "/miglink.v1.CommandLink/Attach", grpc, message)
		require.Equal(w.t, "12", trailer.Get("Grpc-Status"), "%v", trailer) // UNIMPLEMENTED
		for _, kind := range []string{"application/grpc+json", "application/connect+proto", "application/connect+json", "application/grpc-web"} {
			status, _ := w.post(client, "/miglink.v1.CommandLink/Attach", http.Header{"Content-Type": {kind}}, message)
			require.Equal(w.t, http.StatusUnsupportedMediaType, status, kind)
		}
	}, 8)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

func http2Client() *http.Client {
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Client{Transport: &http.Transport{Protocols: protocols}, Timeout: patience}
}

// post returns the status, and what came of headers and trailers.
func (w *world) post(client *http.Client, path string, header http.Header, body []byte) (int, http.Header) {
	req, err := http.NewRequest(http.MethodPost, "http://"+w.addr+path, bytes.NewReader(body))
	require.NoError(w.t, err)
	req.Header = header.Clone()
	req.Header.Set("Authorization", "Bearer bad")
	resp, err := client.Do(req)
	require.NoError(w.t, err)
	httplink.Drain(resp.Body)
	all := resp.Header.Clone()
	for k, v := range resp.Trailer {
		all[k] = v
	}
	return resp.StatusCode, all
}

// A stranger's first message over gRPC is read up to the bound of a hello, whatever length it claims.
func TestStrangersGRPC(t *testing.T) {
	w := newWorld(t)
	client := http2Client()
	defer client.CloseIdleConnections()
	w.withstands(func() {
		for _, size := range []uint32{64<<10 + 1, 2 << 20, 1<<32 - 1} {
			body := &counting{r: io.MultiReader(bytes.NewReader(binary.BigEndian.AppendUint32([]byte{0}, size)), io.LimitReader(zeros{}, int64(size)))}
			req, err := http.NewRequest(http.MethodPost, "http://"+w.addr+"/miglink.v1.CommandLink/Attach", body)
			require.NoError(w.t, err)
			req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
			resp, err := client.Do(req)
			require.NoError(w.t, err)
			b, _ := io.ReadAll(resp.Body)
			require.Contains(w.t, string(b), "too_large", "the refusal is not typed")
			require.Less(w.t, body.n.Load(), int64(8<<20), "much was taken of a message of %d bytes", size)
		}
	}, 8)
	require.Contains(t, w.logs.String(), "code=too_large")
}

type counting struct {
	r io.Reader
	n atomic.Int64
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	c.n.Add(int64(n))
	return n, err
}

// Hellos by the thousand, none with a token, and messages for sessions by the ten thousand.
func TestStrangersNATS(t *testing.T) {
	w := newWorld(t)
	conn, err := nats.Connect(w.broker)
	require.NoError(t, err)
	defer conn.Close()
	w.withstands(func() {
		for i := range 1000 {
			session := fmt.Sprintf("vm-%d.s-%d", i, i)
			hello := fmt.Sprintf(`{"n":1,"hello":{"version":1,"vm_id":"vm-%d"}}`, i)
			if i%4 == 1 {
				hello = strings.Repeat("x", 100<<10)
			}
			require.NoError(w.t, conn.PublishRequest(fmt.Sprintf("miglink.hello.vm-%d", i), "miglink.down."+session, []byte(hello)))
			for range 5 {
				require.NoError(w.t, conn.Publish("miglink.up."+session, make([]byte, 10<<10)))
			}
		}
		require.NoError(w.t, conn.PublishRequest("miglink.hello.=zz", "x", nil))
		require.NoError(w.t, conn.Flush())
		require.Eventually(w.t, func() bool { return w.refused.Load() >= 750 }, patience, 10*time.Millisecond)
	}, 24)
	require.EqualValues(t, 750, w.refused.Load(), "a hello that is too large was looked into")
	require.Contains(t, w.logs.String(), "a hello that makes no sense")
	fleet, err := w.c.Fleet(context.Background())
	require.NoError(t, err)
	require.Len(t, fleet, 1, "a stranger is taken for a VM")
}
