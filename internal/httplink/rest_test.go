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
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/internal/needs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// restful answers each POST with its body, and lets the connection rest where the path says so.
func restful(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/rest/last" {
		w.Header().Set("Connection", "close")
	}
	body, err := httplink.ReadBody(w, r)
	if err != nil {
		panic(err)
	}
	answer := func(w http.ResponseWriter) { httplink.WriteBody(w, body) }
	if strings.HasPrefix(r.URL.Path, "/rest") {
		httplink.Rest(w, r, body, answer)
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
	_, err := fmt.Fprintf(p.conn, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
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

// server serves restful. prepare may be nil.
func server(t *testing.T, secure bool, prepare func(*http.Server)) (s *http.Server, dial func() *peer) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ca := certtest.NewAuthority(t)
	s = &http.Server{
		Handler:   http.HandlerFunc(restful),
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}, MinVersion: tls.VersionTLS13},
	}
	if prepare != nil {
		prepare(s)
	}
	var served sync.WaitGroup
	served.Go(func() {
		if secure {
			_ = s.ServeTLS(l, "", "") // ErrServerClosed
		} else {
			_ = s.Serve(l)
		}
	})
	t.Cleanup(func() {
		s.Close()
		served.Wait()
	})
	return s, func() *peer {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		if secure {
			conn = tls.Client(conn, &tls.Config{RootCAs: ca.Pool(), ServerName: "127.0.0.1", MinVersion: tls.VersionTLS13})
		}
		t.Cleanup(func() { conn.Close() })
		return &peer{t, conn, bufio.NewReader(conn)}
	}
}

// resting is a server, and a peer whose connection rests.
func resting(t *testing.T, secure bool, prepare func(*http.Server)) (*http.Server, *peer) {
	t.Helper()
	s, dial := server(t, secure, prepare)
	p := dial()
	p.say("/rest", "hello")
	p.hear("hello")
	return s, p
}

// A connection that rests has no goroutine, and is what it was when it is used again.
func TestRest(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	needs.Linux(t, "elsewhere connections do not rest")
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
		require.NoError(t, s.Close())
		p.ended()

		s, p = resting(t, secure, nil)
		require.NoError(t, s.Shutdown(t.Context()))
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
	s, dial := server(t, false, nil)
	var peers []*peer
	for range 10 {
		p := dial()
		p.say("/rest", "hello")
		p.hear("hello")
		peers = append(peers, p)
	}
	require.NoError(t, peers[0].conn.Close()) // which the server notices
	require.NoError(t, s.Close())
	for _, p := range peers[1:] {
		p.ended()
	}
}

// A server may be closed while connections come back to it.
func TestCloseWhileTheyComeBack(t *testing.T) {
	t.Parallel()
	for range 20 {
		s, dial := server(t, false, nil)
		var all sync.WaitGroup
		var answers atomic.Int32
		for range 20 {
			p := dial()
			all.Go(func() {
				for {
					_, err := io.WriteString(p.conn, "POST /rest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none")
					if err != nil {
						return
					}
					resp, err := http.ReadResponse(p.in, nil)
					if err != nil {
						return
					}
					_, _ = io.Copy(io.Discard, resp.Body)
					answers.Add(1)
				}
			})
		}
		require.Eventually(t, func() bool { return answers.Load() > 20 }, time.Minute, time.Millisecond)
		require.NoError(t, s.Close())
		all.Wait()
	}
}

// What an answer or a middleware says of the connection counts.
func TestRestsNot(t *testing.T) {
	t.Parallel()
	_, p := resting(t, false, nil)
	p.say("/rest/last", "bye")
	p.hear("bye")
	p.ended()

	_, dial := server(t, false, func(s *http.Server) {
		s.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = io.NopCloser(io.LimitReader(r.Body, 3)) // and does not say that there is more
			restful(w, r)
		})
	})
	p = dial()
	for range 3 {
		p.say("/rest", "onePOST /smuggled HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		p.hear("one")
	}
}

// Requests that came with the one before are not lost.
func TestRestIsCutShort(t *testing.T) {
	t.Parallel()
	for _, secure := range []bool{false, true} {
		_, p := resting(t, secure, nil)
		two := "POST /rest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\none" + "POST /rest HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\ntwo"
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
	inMemory := &http.Server{Handler: http.HandlerFunc(restful), ConnState: func(_ net.Conn, s http.ConnState) {
		if s == http.StateHijacked {
			states.Add(1)
		}
	}}
	client, stop := memnet.Serve(inMemory)
	defer stop()
	for range 3 { // not a socket, which is found out once
		resp, err := client.Post("http://c/rest", "text/plain", strings.NewReader("x"))
		require.NoError(t, err)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, "x", strings.TrimSpace(string(b)))
	}
	require.EqualValues(t, 1, states.Load())

	w := httptest.NewRecorder() // no server
	restful(w, httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/rest", strings.NewReader("x")))
	require.Equal(t, "x", strings.TrimSpace(w.Body.String()))
}
