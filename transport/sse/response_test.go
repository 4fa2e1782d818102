package sse_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/web"
)

// serve is a controller behind a server on a real socket; wrap may be nil.
func serve(t *testing.T, wrap func(http.Handler) http.Handler) (*controller.Controller, *httptest.Server) {
	t.Helper()
	c := controller.New(memory.New(), controller.Options{})
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	if wrap != nil {
		h = wrap(h)
	}
	s := httptest.NewServer(h)
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s
}

// ask sends a request for a stream by hand, and reads its answer's header.
func ask(t *testing.T, s *httptest.Server, request string) (net.Conn, *http.Response) {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(time.Minute)))
	_, err = io.WriteString(conn, request)
	require.NoError(t, err)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	return conn, resp
}

const getStream = "GET /api/v1/vms/vm-1/commands/stream HTTP/1.1\r\nHost: localhost\r\n\r\n"

// Over HTTP/1.1 a stream is an answer in chunks that ends with its connection, whose header holds what others have
// put there.
func TestOverHTTP1(t *testing.T) {
	t.Parallel()
	c, s := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Other", "here")
			h.ServeHTTP(w, r)
		})
	})
	_, resp := ask(t, s, getStream)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, []string{"chunked"}, resp.TransferEncoding)
	require.True(t, resp.Close)
	for key, value := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no", "X-Other": "here",
	} {
		require.Equal(t, value, resp.Header.Get(key))
	}
	date, err := http.ParseTime(resp.Header.Get("Date"))
	require.NoError(t, err)
	require.WithinDuration(t, time.Now(), date, time.Minute)

	first, large := send(t, c, "vm-1", 1), send(t, c, "vm-1", 100_000)
	lines := bufio.NewReader(resp.Body)
	for _, id := range []string{first.ID(), large.ID()} {
		for said := false; !said; {
			line, err := lines.ReadString('\n')
			require.NoError(t, err)
			said = strings.Contains(line, id)
		}
	}
	require.NoError(t, c.Close())
	rest, err := io.ReadAll(lines)
	require.NoError(t, err, "the last chunk is there")
	require.Contains(t, string(rest), "event: close\n")
}

// A client that goes ends its stream at once, and so does one that says what nobody has asked for.
func TestClientThatGoes(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(net.Conn) error{
		"closes":      net.Conn.Close,
		"half closes": func(c net.Conn) error { return c.(*net.TCPConn).CloseWrite() },
		"resets": func(c net.Conn) error {
			_ = c.(*net.TCPConn).SetLinger(0)
			return c.Close()
		},
		"asks again": func(c net.Conn) error {
			_, err := io.WriteString(c, getStream)
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := serve(t, nil)
			conn, _ := ask(t, s, getStream)
			attached := func() bool {
				p, _ := c.Presence("vm-1")
				return p.Attached
			}
			require.True(t, attached())
			require.NoError(t, leave(conn))
			require.Eventually(t, func() bool { return !attached() }, time.Minute, time.Millisecond)
		})
	}
}

// noHijacker is what a middleware hands on that knows nothing of connections.
type noHijacker struct{ http.ResponseWriter }

func (w noHijacker) Flush() { w.ResponseWriter.(http.Flusher).Flush() }

// Where a connection cannot be taken over, a stream is one of net/http's answers.
func TestShared(t *testing.T) {
	t.Parallel()
	for name, wrap := range map[string]func(http.Handler) http.Handler{
		"a middleware": func(h http.Handler) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(noHijacker{w}, r) })
		},
		"HTTP/1.0": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, s := serve(t, wrap)
			request := getStream
			if wrap == nil {
				request = strings.Replace(request, "HTTP/1.1", "HTTP/1.0", 1)
			}
			conn, resp := ask(t, s, request)
			r := send(t, c, "vm-1", 1)
			lines := bufio.NewReader(resp.Body)
			for said := false; !said; {
				line, err := lines.ReadString('\n')
				require.NoError(t, err)
				said = strings.Contains(line, r.ID())
			}
			require.NoError(t, conn.Close())
			require.Eventually(t, func() bool {
				p, _ := c.Presence("vm-1")
				return !p.Attached
			}, time.Minute, time.Millisecond)
		})
	}
	c, s := serve(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			h.ServeHTTP(struct{ http.ResponseWriter }{w}, r)
		})
	})
	_, resp := ask(t, s, getStream)
	require.Equal(t, http.StatusNotImplemented, resp.StatusCode)
	b, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(b), "cannot stream: give what it wraps with a method Unwrap() http.ResponseWriter")
	_, known := c.Presence("vm-1")
	require.False(t, known, "it had no effect")
}

// A stream of TLS is taken over, too.
func TestOverTLS(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	s := httptest.NewTLSServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	defer s.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = []string{"http/1.1"}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, TLSNextProto: map[string]func(string, *tls.Conn) http.RoundTripper{}}}
	defer client.CloseIdleConnections()
	l, err := open(t, s.URL, sse.Options{Client: client}).Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	for i := range 3 {
		r := send(t, c, "vm-1", 100*i)
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		require.Equal(t, r.ID(), page[0].ID, fmt.Sprint(i))
		require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	}
}
