package hostile

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport/grpc"
)

// A thousand requests of one VM, each with a body of which the last byte does not come. As many are read as the VM may
// have links; the others are refused before their body is.
func TestBodiesOfOneVM(t *testing.T) {
	for _, path := range []string{"/api/v1/vms/bad/commands/ack", "/api/v1/vms/bad/commands?wait=1s", "/api/v1/vms/bad/events"} {
		t.Run(path, func(t *testing.T) {
			w := newWorld(t)
			body := bytes.Repeat([]byte(" "), mega-1)
			w.withstands(func() {
				var each sync.WaitGroup
				places := make(chan struct{}, 50) // so many send at a time
				for range 1000 {
					conn, err := net.Dial("tcp", w.addr)
					require.NoError(w.t, err)
					w.t.Cleanup(func() { conn.Close() })
					places <- struct{}{}
					each.Go(func() {
						defer func() { <-places }()
						_ = conn.SetWriteDeadline(time.Now().Add(patience))
						_, _ = fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer bad\r\nContent-Length: %d\r\n\r\n", path, mega)
						_, _ = conn.Write(body) // those who are refused are hung up on
					})
				}
				each.Wait()
			}, 96)
		})
	}
}

// A frame of HTTP/2 is announced by nine bytes, and there is room for it by then: a stranger's are small.
func TestFrameHeaders(t *testing.T) {
	w := newWorld(t)
	const clients = 300
	conns := make([]net.Conn, clients)
	w.withstands(func() {
		for i := range conns {
			var err error
			conns[i], err = net.Dial("tcp", w.addr)
			require.NoError(w.t, err)
			defer w.t.Cleanup(func() { conns[i].Close() })
			_ = conns[i].SetDeadline(time.Now().Add(patience))
			_, err = io.WriteString(conns[i], "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"+
				"\x00\x00\x00\x04\x00\x00\x00\x00\x00"+ // SETTINGS
				"\x0f\x00\x00\x00\x00\x00\x00\x00\x01") // DATA, 960 KiB of it, for stream 1
			require.NoError(w.t, err)
			// By the time that the server's own SETTINGS are acknowledged it reads frames.
			_, err = io.ReadFull(conns[i], make([]byte, 9))
			require.NoError(w.t, err)
		}
	}, 24)
	for _, c := range conns { // it is told that the frame is too large, and hung up on
		_, err := io.Copy(io.Discard, c)
		require.NoError(t, err)
	}
}

// Reflection is for everybody, and costs little whatever it is asked.
func TestReflection(t *testing.T) {
	w := newWorld(t)
	mux := http.NewServeMux()
	for path, h := range grpc.Reflection() {
		mux.Handle(path, h)
	}
	addr := serve(t, mux)
	const path = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
	client := http2Client()
	defer client.CloseIdleConnections()
	ask := func(header http.Header, body io.Reader) (status string, n int64) {
		req, err := http.NewRequest(http.MethodPost, "http://"+addr+path, body)
		require.NoError(w.t, err)
		req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		for k, v := range header {
			req.Header[k] = v
		}
		resp, err := client.Do(req)
		require.NoError(w.t, err)
		n, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if status = resp.Trailer.Get("Grpc-Status"); status == "" {
			status = resp.Header.Get("Grpc-Status")
		}
		return status, n
	}
	message := func(flags byte, b []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{flags}, uint32(len(b))), b...)
	}
	symbol := append([]byte{0x22, 22}, "miglink.v1.CommandLink"...) // file_containing_symbol
	_, one := ask(nil, bytes.NewReader(message(0, symbol)))
	require.Positive(t, one)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 400*mega)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	w.withstands(func() {
		for range 4 {
			status, _ := ask(http.Header{"Grpc-Encoding": {"gzip"}}, bytes.NewReader(message(1, bomb.Bytes())))
			require.Equal(w.t, "12", status) // UNIMPLEMENTED
			status, _ = ask(nil, bytes.NewReader(message(1, bomb.Bytes())))
			require.NotEqual(w.t, "0", status)
			status, _ = ask(nil, io.MultiReader(strings.NewReader("\x00\xff\xff\xff\xff"), io.LimitReader(zeros{}, 1<<32)))
			require.NotEqual(w.t, "0", status)
			status, _ = ask(nil, bytes.NewReader(message(0, make([]byte, 5<<10))))
			require.NotEqual(w.t, "0", status)
			status, n := ask(nil, bytes.NewReader(bytes.Repeat(message(0, symbol), 10_000)))
			require.NotEqual(w.t, "0", status)
			require.LessOrEqual(w.t, n, 64*one)
		}
	}, 8)

	// So many at a time, and then it is somebody else's turn.
	var open []*io.PipeWriter
	for range 16 {
		r, in := io.Pipe()
		open = append(open, in)
		req, err := http.NewRequest(http.MethodPost, "http://"+addr+path, r)
		require.NoError(t, err)
		req.Header = http.Header{"Content-Type": {"application/grpc"}, "Te": {"trailers"}}
		answered := make(chan struct{})
		go func() {
			_, _ = in.Write(message(0, symbol))
			close(answered)
		}()
		resp, err := client.Do(req)
		require.NoError(t, err)
		<-answered
		_, err = io.ReadFull(resp.Body, make([]byte, 5))
		require.NoError(t, err)
		defer resp.Body.Close()
	}
	status, _ := ask(nil, bytes.NewReader(message(0, symbol)))
	require.Equal(t, "8", status) // RESOURCE_EXHAUSTED
	for _, in := range open {
		in.Close()
	}
	require.Eventually(t, func() bool {
		_, n := ask(nil, bytes.NewReader(message(0, symbol)))
		return n == one
	}, patience, 10*time.Millisecond)
}
