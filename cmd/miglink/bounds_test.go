package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/transport/web"
)

// callers are who may ask; a token that is good for one endpoint is a stranger's for another.
var callers = map[string]string{"a stranger": "", "a VM": tokenOfVM, "an operator": tokenOfOperator}

// What whoever comes may cost, besides what it sends.
const (
	heldPerConnection = 64 << 10 // bytes
	mega              = 1 << 20
)

// TestEveryRouteIsBounded asks every endpoint for too much, as everybody, over every version of HTTP. Each request is
// answered, or its connection ends, soon; and what it takes of memory is in proportion to what was sent.
func TestEveryRouteIsBounded(t *testing.T) {
	existing := goleak.IgnoreCurrent()
	t.Cleanup(func() { // after the servers have closed; net/http waits half a second for what it has said last to arrive
		goleak.VerifyNone(t, existing, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
	})
	s := serveAll(t, true, true)
	ca := certtest.NewAuthority(t)
	config := &tls.Config{Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}, MinVersion: tls.VersionTLS13}
	plain := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
	server := web.NewServer(t.Context(), s.h, web.ServerOptions{})
	server.TLSConfig = config
	secure := listen(t, server, true)
	speak := func(http1, http2, h2c bool) *http.Client {
		p := new(http.Protocols)
		p.SetHTTP1(http1)
		p.SetHTTP2(http2)
		p.SetUnencryptedHTTP2(h2c)
		tr := &http.Transport{Protocols: p, TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr, Timeout: 25 * time.Second} // less than what a body has
	}
	ways := map[string]struct {
		client *http.Client
		base   string
	}{
		"HTTP/1.1":        {speak(true, false, false), "http://" + plain},
		"h2c":             {speak(false, false, true), "http://" + plain},
		"HTTP/2 over TLS": {speak(false, true, false), "https://" + secure},
	}
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, err := io.CopyN(z, zeros{}, 64*mega)
	require.NoError(t, err)
	require.NoError(t, z.Close())
	large := bytes.Repeat([]byte(" "), 2*mega)
	asks := []struct {
		name  string
		bytes int // most that are sent; 0: the body is without end
		body  func() io.Reader
		shape func(r *http.Request)
	}{
		{name: "a body without end", body: func() io.Reader { return zeros{} }},
		{name: "2 MiB", bytes: 2 * mega, body: func() io.Reader { return bytes.NewReader(large) }},
		{name: "gzip", bytes: bomb.Len(), body: func() io.Reader { return bytes.NewReader(bomb.Bytes()) }, shape: func(r *http.Request) { r.Header.Set("Content-Encoding", "gzip") }},
		{name: "gzip in an envelope", bytes: bomb.Len(), shape: func(r *http.Request) { r.Header.Set("Grpc-Encoding", "gzip") }, body: func() io.Reader {
			return bytes.NewReader(append(binary.BigEndian.AppendUint32([]byte{1}, uint32(bomb.Len())), bomb.Bytes()...))
		}},
		{name: "an envelope of 4 GiB", body: func() io.Reader {
			return io.MultiReader(bytes.NewReader([]byte{0, 255, 255, 255, 255}), zeros{})
		}},
		{name: "a huge query", bytes: 12 << 10, shape: func(r *http.Request) { r.URL.RawQuery = "wait=1ms&" + strings.Repeat("a&", 6<<10) }},
		{name: "many headers", bytes: 12 << 10, shape: func(r *http.Request) {
			for i := range 400 {
				r.Header.Set(fmt.Sprintf("X-%d", i), "y")
			}
		}},
	}
	for way, over := range ways {
		for _, ask := range asks {
			before := heap()
			peak := watchHeap(t)
			n := 0
			for _, e := range endpoints(t, s.h) {
				for who, token := range callers {
					if ask.body == nil && e.verb() != http.MethodGet {
						continue
					}
					n++
					name := fmt.Sprintf("%s as %s over %s: %s %s", ask.name, who, way, e.verb(), e.path)
					ctx, cancel := context.WithCancel(t.Context())
					var body io.Reader
					if ask.body != nil {
						body = ask.body()
					}
					req, err := http.NewRequestWithContext(ctx, e.verb(), over.base+e.path, body)
					require.NoError(t, err)
					req.Header.Set("Content-Type", e.contentType())
					req.Header.Set("Authorization", "Bearer "+token)
					if ask.shape != nil {
						ask.shape(req)
					}
					resp, err := over.client.Do(req)
					if err == nil { // what is held, like a stream, has begun to answer
						_, err = io.CopyN(io.Discard, resp.Body, 1)
						resp.Body.Close()
					}
					require.NotErrorIs(t, err, context.DeadlineExceeded, "%s: no answer, and no end", name)
					cancel()
				}
			}
			// The client is in this process, too; a body without end is sent until it is refused.
			most := before + 24*mega + 4*uint64(ask.bytes)
			require.Less(t, peak(), most, "%s over %s: %d requests, one after the other", ask.name, way, n)
			require.Less(t, heap(), before+uint64(n)*4<<10+4*mega, "%s over %s is held", ask.name, way)
			over.client.CloseIdleConnections()
		}
	}
	// Nobody is served any more, although neither the servers nor the controller have stopped.
	stacks := make([]byte, 8*mega)
	require.Eventually(t, func() bool {
		return !bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("httplink.(*guarded).ServeHTTP"))
	}, 20*time.Second, 10*time.Millisecond)
}

// A thousand clients say half of a body, at every endpoint, and wait. What is held of each is little, and all but those who
// are let in are answered.
func TestSlowBodiesEverywhere(t *testing.T) {
	s := serveAll(t, true, true)
	addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
	var posts []endpoint
	for _, e := range endpoints(t, s.h) {
		if e.verb() != http.MethodGet {
			posts = append(posts, e)
		}
	}
	const clients = 1000
	half := strings.Repeat(" ", 32<<10)
	before := heap()
	peak := watchHeap(t)
	var refused []chan error
	tokens := []string{"", tokenOfVM, tokenOfOperator}
	for i := range clients {
		e, token := posts[i%len(posts)], tokens[i/len(posts)%len(tokens)]
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		_, err = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\nAuthorization: Bearer %s\r\nContent-Length: 1000000\r\n\r\n%s",
			e.verb(), e.path, e.contentType(), token, half)
		_ = err // it may have been refused, and hung up on, by now
		if letIn := map[string]string{"/api/v1": tokenOfVM, "/admin/": tokenOfOperator}[e.path[:min(len(e.path), 7)]]; letIn == token && letIn != "" && e.method != http.MethodPut {
			continue // they have 30 s
		}
		ended := make(chan error, 1)
		refused = append(refused, ended)
		go func() {
			_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second)) // less than a body has
			_, err := io.Copy(io.Discard, conn)
			ended <- err
		}()
	}
	// Those who are refused are told so although they say no more, and hung up on.
	require.Greater(t, len(refused), clients/2)
	for _, ended := range refused {
		err := <-ended
		require.False(t, isTimeout(err), "%v", err)
	}
	require.Less(t, peak(), before+clients*(heldPerConnection+64<<10), "while they wait")
	require.Less(t, heap(), before+clients*heldPerConnection, "held")
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error) //nolint:errorlint // of a net.Conn, bare
	return ok && ne.Timeout()
}

// An operator, too, has so many large bodies on the way at a time, and not a thousand.
func TestLargeBodiesOfAnOperator(t *testing.T) {
	s := serveAll(t, true, true)
	addr := listen(t, web.NewServer(t.Context(), s.h, web.ServerOptions{}), false)
	before := heap()
	body := bytes.Repeat([]byte(" "), mega-1)
	var each errgroup.Group
	each.SetLimit(50)
	for range 600 {
		conn, err := net.Dial("tcp", addr)
		require.NoError(t, err)
		defer conn.Close()
		each.Go(func() error {
			_ = conn.SetWriteDeadline(time.Now().Add(20 * time.Second))
			_, _ = fmt.Fprintf(conn, "POST /admin/v1/commands HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n\r\n", tokenOfOperator, mega)
			_, err := conn.Write(body)
			if isTimeout(err) {
				return err // neither read nor hung up on
			}
			return nil
		})
	}
	require.NoError(t, each.Wait())
	require.Less(t, heap(), before+160*mega, "held")
}

// Each endpoint lets a body take its time: 30 s where it is read, a second where it is not, over HTTP/1.1 and HTTP/2.
// A stream of gRPC goes on for as long as its link, whose hello has 10 s.
func TestTimeOfBodies(t *testing.T) {
	t.Parallel()
	for _, http2 := range []bool{false, true} {
		for who, token := range callers {
			synctest.Test(t, func(t *testing.T) {
				s := serveAll(t, true, true)
				serve := memnet.Serve
				if http2 {
					serve = memnet.ServeHTTP2
				}
				client, stop := serve(web.NewServer(t.Context(), s.h, web.ServerOptions{}))
				for _, e := range endpoints(t, s.h) {
					if e.verb() == http.MethodGet && http2 {
						continue // the client would say that it has no body
					}
					name := fmt.Sprintf("%s %s as %s, HTTP/2: %v", e.verb(), e.path, who, http2)
					var resp *http.Response
					var took time.Duration
					ask := func() error {
						began := time.Now()
						body := &trickle{ctx: t.Context(), ended: make(chan struct{})}
						defer body.Close()
						req, err := http.NewRequestWithContext(t.Context(), e.verb(), "http://localhost"+e.path, body)
						require.NoError(t, err)
						req.Header.Set("Content-Type", e.contentType())
						req.Header.Set("Authorization", "Bearer "+token)
						if resp, err = client.Do(req); err == nil {
							_, _ = io.Copy(io.Discard, resp.Body)
							resp.Body.Close()
						}
						took = time.Since(began)
						return err
					}
					err := ask()
					for tries := 1; errors.Is(err, io.ErrClosedPipe) && tries < 10; tries++ {
						err = ask() // the client wrote when the server had closed, and has missed the answer
					}
					most := 2 * time.Second
					switch {
					case e.grpc() && http2 && strings.Contains(e.path, "Attach"):
						most = 11 * time.Second
					case err == nil && resp.StatusCode == http.StatusBadRequest, e.grpc() && http2:
						most = 31 * time.Second // it was let in
					}
					require.LessOrEqual(t, took, most, "%s: %v", name, err)
				}
				s.c.Close()
				stop()
				time.Sleep(time.Second) // net/http waits half a second for what it has said last to arrive
			})
		}
	}
}

// trickle is a body of which a byte comes each second, for ever.
type trickle struct {
	ctx   context.Context
	ended chan struct{}
	once  sync.Once
}

func (t *trickle) Read(p []byte) (int, error) {
	select {
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	case <-t.ended:
		return 0, io.EOF
	}
}

func (t *trickle) Close() error {
	t.once.Do(func() { close(t.ended) }) // net/http closes it, too, from a goroutine of its own
	return nil
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// heap is what is allocated and reachable, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes at the second
	return objects()
}

// objects is what is allocated, reachable or not yet swept.
func objects() uint64 {
	s := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// watchHeap looks at the heap all the while, until the most that it was is asked for.
func watchHeap(t *testing.T) (peak func() uint64) {
	t.Helper()
	var seen []uint64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		for {
			seen = append(seen, objects())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	return func() uint64 {
		close(stop)
		<-done
		return slices.Max(seen)
	}
}
