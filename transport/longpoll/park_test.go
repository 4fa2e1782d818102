package longpoll_test

import (
	"context"
	"crypto/tls"
	"io"
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
			req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://c/api/v1/vms/vm-1/commands?wait=30s&instance=i-1&after="+after, http.NoBody)
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
			s := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
			defer s.Close()
			conn, err := net.Dial("tcp", s.Listener.Addr().String())
			require.NoError(t, err)
			defer conn.Close()
			_, err = io.WriteString(conn, "GET /api/v1/vms/vm-1/commands?wait=50s HTTP/1.1\r\nHost: c\r\n\r\n")
			require.NoError(t, err)
			attached := func() bool {
				p, _ := c.Presence("vm-1")
				return p.Attached
			}
			require.Eventually(t, attached, time.Minute, time.Millisecond)
			time.Sleep(time.Second) // it is parked by then; if it is not, the same holds
			require.True(t, attached())
			require.NoError(t, leave(conn))
			require.Eventually(t, func() bool { return !attached() }, time.Minute, time.Millisecond)
			r := send(t, c)
			e, err := c.Get(t.Context(), r.ID())
			require.NoError(t, err)
			require.Equal(t, ack.Queued, e.State.Stage)
		})
	}
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
	var seen atomic.Int32
	var from sync.Map
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.TLS != nil && len(r.TLS.PeerCertificates) == 1 {
			seen.Add(1)
		}
		from.Store(r.RemoteAddr, true)
		h.ServeHTTP(w, r)
	}))
	s.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	s.StartTLS()
	defer s.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.Certificates = []tls.Certificate{ca.Client(t, "vm-1").TLS(t)}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config}}
	defer client.CloseIdleConnections()
	for range 3 {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/vms/vm-1/commands?wait=700ms", http.NoBody)
		require.NoError(t, err)
		resp, err := client.Do(req)
		require.NoError(t, err)
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
