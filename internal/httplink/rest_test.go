package httplink_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/memnet"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// restful answers each POST with its body, and lets the connection rest where the path says so.
func restful(w http.ResponseWriter, r *http.Request) {
	body, err := httplink.ReadBody(w, r)
	if err != nil {
		panic(err)
	}
	answer := func(w http.ResponseWriter) { httplink.WriteBody(w, body) }
	if r.URL.Path == "/rest" {
		httplink.Rest(w, r, answer)
	} else {
		answer(w)
	}
}

// peer is a client by hand, over one connection.
type peer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func (p *peer) say(path, body string) {
	p.t.Helper()
	_, err := fmt.Fprintf(p.conn, "POST %s HTTP/1.1\r\nHost: c\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
	require.NoError(p.t, err)
}

func (p *peer) hear(body string) {
	p.t.Helper()
	resp, err := http.ReadResponse(p.in, nil)
	require.NoError(p.t, err)
	b, err := io.ReadAll(resp.Body)
	require.NoError(p.t, err)
	require.Equal(p.t, http.StatusOK, resp.StatusCode)
	require.Equal(p.t, "application/json", resp.Header.Get("Content-Type"))
	require.Equal(p.t, body, strings.TrimSpace(string(b)))
}

// ended waits for the end of the connection.
func (p *peer) ended() {
	p.t.Helper()
	_, err := p.in.ReadByte()
	require.ErrorIs(p.t, err, io.EOF)
}

// resting is a server, and a peer whose connection rests. prepare may be nil.
func resting(t *testing.T, secure bool, prepare func(*http.Server)) (*httptest.Server, *peer) {
	t.Helper()
	s := httptest.NewUnstartedServer(http.HandlerFunc(restful))
	if prepare != nil {
		prepare(s.Config)
	}
	ca := certtest.NewAuthority(t)
	if secure {
		s.TLS = &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}, MinVersion: tls.VersionTLS13}
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(s.Close)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	if secure {
		conn = tls.Client(conn, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
	}
	t.Cleanup(func() { conn.Close() })
	p := &peer{t, conn, bufio.NewReader(conn)}
	p.say("/rest", "hello")
	p.hear("hello")
	return s, p
}

// A connection that rests has no goroutine, and is what it was when it is used again.
func TestRest(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	if runtime.GOOS != "linux" {
		t.Skip("elsewhere connections do not rest")
	}
	for _, secure := range []bool{false, true} {
		_, p := resting(t, secure, nil)
		for i := range 3 {
			stacks := make([]byte, 1<<20)
			require.Eventually(t, func() bool {
				return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "http.(*conn).serve")
			}, time.Minute, time.Millisecond)
			for j := range 3 {
				text := fmt.Sprint(i, j)
				p.say("/on", text)
				p.hear(text)
			}
			p.say("/rest", "again")
			p.hear("again")
		}
		require.NoError(t, p.conn.Close())
	}
}

// What ends an idle connection ends one that rests.
func TestRestEnds(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		s, p := resting(t, secure, nil)
		require.NoError(t, s.Config.Close())
		p.ended()

		s, p = resting(t, secure, nil)
		require.NoError(t, s.Config.Shutdown(t.Context()))
		p.ended()

		_, p = resting(t, secure, func(s *http.Server) { s.IdleTimeout = time.Millisecond })
		p.ended()

		_, p = resting(t, secure, func(s *http.Server) { s.IdleTimeout = time.Hour })
		p.say("/on", "in time")
		p.hear("in time")
	}
}

// Several rest at a server, and it ends them all.
func TestSeveralRest(t *testing.T) {
	t.Parallel()
	s, first := resting(t, false, nil)
	peers := []*peer{first}
	for range 10 {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		require.NoError(t, err)
		defer conn.Close()
		p := &peer{t, conn, bufio.NewReader(conn)}
		p.say("/rest", "hello")
		p.hear("hello")
		peers = append(peers, p)
	}
	require.NoError(t, first.conn.Close()) // which the server notices
	require.NoError(t, s.Config.Close())
	for _, p := range peers[1:] {
		p.ended()
	}
}

// Requests that came with the one before are not lost.
func TestRestIsCutShort(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		_, p := resting(t, secure, nil)
		two := "POST /rest HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\none" + "POST /rest HTTP/1.1\r\nHost: c\r\nContent-Length: 3\r\n\r\ntwo"
		for range 10 {
			_, err := io.WriteString(p.conn, two)
			require.NoError(t, err)
			p.hear("one")
			p.hear("two")
		}
	}
}

// Where a connection cannot rest the answer is what it is.
func TestCannotRest(t *testing.T) {
	t.Parallel()
	var states atomic.Int32
	server := &http.Server{Handler: http.HandlerFunc(restful), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateHijacked {
			states.Add(1)
		}
	}}
	client, stop := memnet.Serve(server)
	defer stop()
	post := func(client *http.Client, url string, prepare func(*http.Request)) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader("x"))
		require.NoError(t, err)
		prepare(req)
		resp, err := client.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Equal(t, "x", strings.TrimSpace(string(b)))
	}
	for range 3 { // not a socket
		post(client, "http://c/rest", func(*http.Request) {})
	}
	require.EqualValues(t, 3, states.Load())
	post(client, "http://c/rest", func(r *http.Request) { r.Close = true })
	require.EqualValues(t, 3, states.Load())

	w := httptest.NewRecorder() // no server
	restful(w, httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/rest", strings.NewReader("x")))
	require.Equal(t, "x", strings.TrimSpace(w.Body.String()))
}
