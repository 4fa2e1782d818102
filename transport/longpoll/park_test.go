package longpoll_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
)

// held is so long that a poll is parked meanwhile.
const held = 5 * time.Second

// inServer is inWorld where a test sees the server, and may be in front of it; wrap may be nil.
func inServer(t *testing.T, wrap func(http.Handler) http.Handler, test func(t *testing.T, c *controller.Controller, s *http.Server, client *http.Client)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
		if wrap != nil {
			h = wrap(h)
		}
		s := &http.Server{Handler: h}
		client, stop := memnet.Serve(s)
		defer stop()
		test(t, c, s, client)
	})
}

// A poll that is held for long has no goroutine of net/http's, answers like any other, and its connection is used
// for the next.
func TestParked(t *testing.T) {
	t.Parallel()
	var inHandler, conns atomic.Int32
	inServer(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inHandler.Add(1)
			defer inHandler.Add(-1)
			w.Header().Set("X-Other", "here")
			h.ServeHTTP(w, r)
		})
	}, func(t *testing.T, c *controller.Controller, s *http.Server, client *http.Client) {
		dial := client.Transport.(*http.Transport).DialContext
		client.Transport.(*http.Transport).DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conns.Add(1)
			return dial(ctx, network, addr)
		}
		after := ""
		for range 3 {
			go func() {
				time.Sleep(held)
				require.Zero(t, inHandler.Load())
				p, _ := c.Presence("vm-1")
				require.True(t, p.Attached)
				send(t, c)
			}()
			began := time.Now()
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/vms/vm-1/commands?wait=30s&instance=i-1&after="+after, http.NoBody)
			require.NoError(t, err)
			resp, err := client.Do(req)
			require.NoError(t, err)
			b, err := io.ReadAll(resp.Body)
			require.NoError(t, err)
			require.NoError(t, resp.Body.Close())
			require.Equal(t, held, time.Since(began))
			require.Equal(t, http.StatusOK, resp.StatusCode)
			require.Equal(t, "here", resp.Header.Get("X-Other"))
			require.Equal(t, "application/json", resp.Header.Get("Content-Type"))
			require.NotEmpty(t, resp.Header.Get("Date"))
			require.Equal(t, 1, strings.Count(string(b), `"type":"drain"`))
			_, after, _ = strings.Cut(string(b), `],"cursor":"`)
			after = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(after), `"}`))
		}
		require.EqualValues(t, 1, conns.Load())
	})
}

// What ends a poll that is parked is what ends any.
func TestParkedEnds(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		end    func(t *testing.T, c *controller.Controller, client *http.Client)
		status int
		says   string
	}{
		"another poll": {func(t *testing.T, _ *controller.Controller, client *http.Client) {
			poll(t, client, "instance=i-1&wait=1ms")
		}, http.StatusConflict, `"code":"replaced"`},
		"a newer instance": {func(t *testing.T, _ *controller.Controller, client *http.Client) {
			poll(t, client, "instance=i-2&wait=1ms")
			poll(t, client, "instance=i-2&wait=1ms") // now it was heard of
		}, http.StatusConflict, `"code":"superseded"`},
		"the controller": {func(t *testing.T, c *controller.Controller, _ *http.Client) {
			require.NoError(t, c.Close())
		}, http.StatusServiceUnavailable, `"code":"unavailable"`},
	} {
		inServer(t, nil, func(t *testing.T, c *controller.Controller, _ *http.Server, client *http.Client) {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				time.Sleep(held)
				test.end(t, c, client)
			}()
			status, _, body := poll(t, client, "instance=i-1&wait=30s")
			<-ended
			require.Equal(t, test.status, status, name)
			require.Contains(t, body, test.says, name)
		})
	}
}

// counted counts the requests that are in a handler.
func counted(h http.Handler, n *atomic.Int32) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n.Add(1)
		defer n.Add(-1)
		h.ServeHTTP(w, r)
	})
}

// parked waits until a poll of vm-1 is held, and is in no handler.
func parked(t *testing.T, c *controller.Controller, inHandler *atomic.Int32) {
	t.Helper()
	require.Eventually(t, func() bool {
		p, _ := c.Presence("vm-1")
		return p.Attached && inHandler.Load() == 0
	}, time.Minute, time.Millisecond)
}

// A client that goes while its poll is parked takes nothing, and nor does one that speaks before it was answered.
func TestParkedClientGoes(t *testing.T) {
	t.Parallel()
	for name, leave := range map[string]func(net.Conn) error{
		"goes":       net.Conn.Close,
		"asks again": func(c net.Conn) error { _, err := io.WriteString(c, "G"); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := controller.New(memory.New(), controller.Options{})
			defer c.Close()
			var inHandler atomic.Int32
			s := httptest.NewServer(counted(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})), &inHandler))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET /api/v1/vms/vm-1/commands?wait=50s HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			parked(t, c, &inHandler)
			require.NoError(t, leave(conn))
			require.Eventually(t, func() bool {
				p, _ := c.Presence("vm-1")
				return !p.Attached
			}, time.Minute, time.Millisecond)
			r := send(t, c)
			e, err := c.Get(t.Context(), r.ID())
			require.NoError(t, err)
			require.Equal(t, ack.Queued, e.State.Stage)
		})
	}
}

// What is not a GET alone on its connection is held as ever: what came of it later would be taken for a request.
func TestNotAlone(t *testing.T) {
	t.Parallel()
	for name, request := range map[string]string{
		"no chunks":       "GET /api/v1/vms/vm-1/commands?wait=1s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"the last":        "GET /api/v1/vms/vm-1/commands?wait=1s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
		"its header only": "HEAD /api/v1/vms/vm-1/commands?wait=1s HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"HTTP/1.0":        "GET /api/v1/vms/vm-1/commands?wait=1s HTTP/1.0\r\nHost: localhost\r\n\r\n",
	} {
		inServer(t, nil, func(t *testing.T, _ *controller.Controller, s *http.Server, client *http.Client) {
			var inHandler atomic.Int32
			s.Handler = counted(s.Handler, &inHandler)
			conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "tcp", "c")
			require.NoError(t, err)
			go func() {
				_, _ = io.WriteString(conn, request)
				_, _ = io.Copy(io.Discard, conn)
			}()
			time.Sleep(800 * time.Millisecond)
			require.EqualValues(t, 1, inHandler.Load(), name)
			time.Sleep(time.Second)
			conn.Close()
		})
	}
}

// toServer runs a test under fake time with a connection to what web.NewServer returns.
func toServer(t *testing.T, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		client, stop := memnet.Serve(web.NewServer(t.Context(), http.StripPrefix("/api/v1", web.Handler(c, web.Options{})), web.ServerOptions{}))
		defer stop()
		conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "tcp", "c")
		require.NoError(t, err)
		defer conn.Close()
		test(t, conn)
	})
}

// A connection that comes back has as long for its next request as any, and a header that begins has as long as any.
func TestParkedConnectionIdles(t *testing.T) {
	t.Parallel()
	toServer(t, func(t *testing.T, conn net.Conn) {
		lines := bufio.NewReader(conn)
		for range 3 {
			_, err := io.WriteString(conn, "GET /api/v1/vms/vm-1/commands?wait=5s HTTP/1.1\r\nHost: localhost\r\n\r\n")
			require.NoError(t, err)
			resp, err := http.ReadResponse(lines, nil)
			require.NoError(t, err)
			_, err = io.Copy(io.Discard, resp.Body)
			require.NoError(t, err)
			time.Sleep(time.Minute)
		}
		began := time.Now()
		_, err := io.WriteString(conn, "GET /api/v1/vms/vm-1/commands?wait=5s HTTP/1.1\r\n")
		require.NoError(t, err)
		_, err = lines.ReadByte()
		require.ErrorIs(t, err, io.EOF)
		require.InDelta(t, 10*time.Second, time.Since(began), float64(time.Second))
	})
	toServer(t, func(t *testing.T, conn net.Conn) {
		_, err := io.WriteString(conn, "GET /api/v1/vms/vm-1/commands?wait=5s HTTP/1.1\r\nHost: localhost\r\n\r\n")
		require.NoError(t, err)
		began := time.Now()
		_, err = io.Copy(io.Discard, conn)
		require.NoError(t, err)
		require.InDelta(t, 2*time.Minute+5*time.Second, time.Since(began), float64(time.Second))
	})
}

// A controller that stops, and its server after it, wait for no connection of a poll that was parked.
func TestShutdownAfterParked(t *testing.T) {
	t.Parallel()
	inServer(t, nil, func(t *testing.T, c *controller.Controller, s *http.Server, client *http.Client) {
		stopped := make(chan time.Duration, 1)
		go func() {
			time.Sleep(held)
			began := time.Now()
			_ = c.Shutdown(t.Context(), 0)
			_ = s.Shutdown(t.Context())
			stopped <- time.Since(began)
		}()
		status, _, body := poll(t, client, "instance=i-1&wait=30s")
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Contains(t, body, `"code":"unavailable"`)
		require.Less(t, <-stopped, time.Second)
	})
}

// The context of a handler ends what is parked, which is told, and no error of ours.
func TestParkedContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		var said bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		client, stop := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(c, web.Options{
			Context: ctx, Log: slog.New(slog.NewTextHandler(&said, nil)),
		}))})
		defer stop()
		go func() {
			time.Sleep(held)
			cancel()
		}()
		began := time.Now()
		status, _, body := poll(t, client, "instance=i-1&wait=30s")
		require.Equal(t, held, time.Since(began))
		require.Equal(t, http.StatusServiceUnavailable, status)
		require.Contains(t, body, `"code":"unavailable"`)
		require.Empty(t, said.String())
	})
}

// broke is a Transport whose links panic where a poll is parked.
type broke struct{ transport.Transport }

func (b broke) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	l, err := b.Transport.Dial(ctx, hello)
	if err != nil {
		return nil, err
	}
	return brokeLink{l.(transport.Pusher)}, nil
}

type brokeLink struct{ transport.Pusher }

func (brokeLink) Take([]transport.Delivery) ([]transport.Delivery, error) { panic("broke") }

// A panic ends a poll that is parked, as net/http has it end a request, and no more.
func TestParkedPanic(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		var said bytes.Buffer
		client, stop := memnet.Serve(&http.Server{Handler: http.StripPrefix("/api/v1", web.Handler(broke{c}, web.Options{
			Log: slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})),
		}))})
		defer stop()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/api/v1/vms/vm-1/commands?wait=30s", http.NoBody)
		require.NoError(t, err)
		_, err = client.Do(req) //nolint:bodyclose // there is none
		require.Error(t, err)
		synctest.Wait()
		require.Contains(t, said.String(), `level=ERROR msg="serving a peer has panicked"`)
		require.Contains(t, said.String(), `level=DEBUG msg="value and stack of a panic" component=longpoll vm_id=vm-1 panic=broke`)
		p, _ := c.Presence("vm-1")
		require.False(t, p.Attached)
	})
}

// The end of the wait, and a server that is gone by then: the answer is the connection's last.
func TestParkedServerCloses(t *testing.T) {
	t.Parallel()
	inServer(t, nil, func(t *testing.T, _ *controller.Controller, s *http.Server, client *http.Client) {
		go func() {
			time.Sleep(held)
			s.Close()
		}()
		began := time.Now()
		status, p, _ := poll(t, client, "wait=30s")
		require.Equal(t, http.StatusOK, status)
		require.Empty(t, p.Commands)
		require.Equal(t, 30*time.Second, time.Since(began))
	})
}

// A middleware that hands no connection over has its polls held as ever.
func TestNotParked(t *testing.T) {
	t.Parallel()
	inServer(t, func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { h.ServeHTTP(struct{ http.ResponseWriter }{w}, r) })
	}, func(t *testing.T, c *controller.Controller, _ *http.Server, client *http.Client) {
		go func() {
			time.Sleep(held)
			send(t, c)
		}()
		began := time.Now()
		_, p, _ := poll(t, client, "wait=30s")
		require.Len(t, p.Commands, 1)
		require.Equal(t, held, time.Since(began))
	})
}

// A connection that was parked is still that of the client whose certificate it was opened with.
func TestParkedOverTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	var seen, inHandler atomic.Int32
	var from sync.Map
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) == 1 {
			seen.Add(1)
		}
		from.Store(r.RemoteAddr, true)
		counted(h, &inHandler).ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.Certificates = []tls.Certificate{ca.Client(t, "vm-1").TLS(t)}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	for range 3 {
		was := make(chan struct{})
		go func() {
			defer close(was)
			parked(t, c, &inHandler)
		}()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/vms/vm-1/commands?wait=1500ms", http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
		<-was
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, http.StatusOK, resp.StatusCode)
	}
	require.EqualValues(t, 3, seen.Load())
	conns := 0
	from.Range(func(any, any) bool {
		conns++
		return true
	})
	require.Equal(t, 1, conns)
}
