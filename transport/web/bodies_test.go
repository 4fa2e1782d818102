package web_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/uplink"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// each are the handlers that an embedder may mount by themselves, on one path that each of them serves.
func each(c *controller.Controller, asked bool) map[string]http.Handler {
	var a transport.Authenticator
	var operators admin.Authenticator
	if asked {
		a = transport.AuthenticatorFunc(func(context.Context, string, transport.Credentials) (transport.Grant, error) {
			return transport.Grant{}, transport.ErrUnauthorized
		})
		operators = admin.AuthenticatorFunc(func(context.Context, transport.Credentials) (admin.Operator, error) {
			return admin.Operator{}, transport.ErrUnauthorized
		})
	}
	at := func(pattern string, h http.Handler) http.Handler {
		mux := http.NewServeMux()
		mux.Handle(pattern, h)
		return mux
	}
	service := http.NewServeMux()
	service.Handle(grpc.Handler(c, grpc.HandlerOptions{Authenticator: a}))
	return map[string]http.Handler{
		"GET /vms/vm-1/commands/ws":                    at("/vms/{vm_id}/commands/ws", ws.Handler(c, ws.HandlerOptions{Authenticator: a})),
		"GET /vms/vm-1/commands/stream":                at("/vms/{vm_id}/commands/stream", sse.Handler(c, sse.HandlerOptions{Authenticator: a})),
		"GET /vms/vm-1/commands":                       at("/vms/{vm_id}/commands", longpoll.Handler(c, longpoll.HandlerOptions{Authenticator: a})),
		"POST /vms/vm-1/commands":                      at("/vms/{vm_id}/commands", longpoll.Handler(c, longpoll.HandlerOptions{Authenticator: a})),
		"POST /vms/vm-1/events":                        uplink.Handler(c, uplink.HandlerOptions{Authenticator: a}),
		"POST /vms/vm-1/commands/ack":                  web.Handler(c, web.Options{Authenticator: a}),
		"GET /vms/vm-1/commands?wait=30s&instance=i-1": web.Handler(c, web.Options{Authenticator: a}),
		"POST /commands":                               admin.Handler(c, admin.Options{Authenticator: operators}),
		"GET /vms":                                     admin.Handler(c, admin.Options{Authenticator: operators}),
		"DELETE /vms":                                  admin.Handler(c, admin.Options{Authenticator: operators}),
		"POST //vms":                                   web.Handler(c, web.Options{Authenticator: a}), // is redirected
		"POST /miglink.v1.CommandLink/Attach":          service,
	}
}

// onPlainServer runs a test under fake time with a connection to each handler, on a server of the embedder's that bounds
// nothing.
func onPlainServer(t *testing.T, asked bool, test func(t *testing.T, c *controller.Controller, what string, conn net.Conn)) {
	t.Helper()
	for what := range each(nil, asked) {
		synctest.Test(t, func(t *testing.T) {
			c := controller.New(memory.New(), controller.Options{})
			client, stop := memnet.Serve(&http.Server{Handler: each(c, asked)[what]}) //nolint:gosec // that is the point
			conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "tcp", "")
			require.NoError(t, err)
			require.NoError(t, conn.SetDeadline(time.Now().Add(time.Hour)))
			test(t, c, what, conn)
			conn.Close()
			c.Close()
			stop()
			time.Sleep(time.Second) // net/http waits half a second for what it has said last to arrive
		})
	}
}

// Each handler, mounted by itself, waits 30 s for a body that it reads, and a second for one that it does not; then it hangs
// up. It makes no difference that something comes all the while.
func TestHalfABody(t *testing.T) {
	t.Parallel()
	for _, asked := range []bool{true, false} {
		for _, head := range []string{"Content-Length: 100\r\n\r\n[", "Content-Length: 900000\r\n\r\n[", "Transfer-Encoding: chunked\r\n\r\n1\r\n[\r\n"} {
			onPlainServer(t, asked, func(t *testing.T, _ *controller.Controller, what string, conn net.Conn) {
				began := time.Now()
				over := make(chan struct{})
				go func() {
					_, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n%s", what, head)
					more := map[bool]string{true: "1\r\n \r\n", false: " "}[strings.HasPrefix(head, "Transfer")]
					for err == nil {
						select {
						case <-time.After(700 * time.Millisecond):
							_, err = io.WriteString(conn, more)
						case <-over:
							return
						}
					}
				}()
				in := bufio.NewReader(conn)
				resp, err := http.ReadResponse(in, nil)
				require.NoError(t, err, "%s: no answer", what)
				if asked && !strings.HasPrefix(head, "Content-Length: 100\r") { // a small one could have come
					require.Zero(t, time.Since(began), "%s: the refusal has waited for the body", what)
				}
				_, _ = io.Copy(io.Discard, in) // the rest of the answer, and the end
				close(over)
				most := 2 * time.Second
				if !asked && strings.HasPrefix(what, "POST") && resp.StatusCode == http.StatusBadRequest {
					most = 31 * time.Second // it was read
				}
				require.GreaterOrEqual(t, resp.StatusCode, 300, what) // a redirect is none of ours, but is bounded, too
				require.LessOrEqual(t, time.Since(began), most, "%s, asked %v: %d", what, asked, resp.StatusCode)
			})
		}
	}
}

// A client that does not read its answer, however small, is hung up on.
func TestAnswerIsNotRead(t *testing.T) {
	t.Parallel()
	onPlainServer(t, true, func(t *testing.T, _ *controller.Controller, what string, conn net.Conn) {
		began := time.Now()
		_, err := fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", what)
		for err == nil { // the connection in memory holds nothing
			_, err = io.WriteString(conn, "GET")
		}
		require.ErrorIs(t, err, io.ErrClosedPipe)
		require.LessOrEqual(t, time.Since(began), 31*time.Second, what)
	})
}

// A GET has no body, and one with a body takes nobody's place. Chunks of which there are none are no body.
func TestGetWithABody(t *testing.T) {
	t.Parallel()
	for head, status := range map[string]int{
		"Content-Length: 2\r\n\r\n{}":                       http.StatusBadRequest,
		"Content-Length: 54\r\n\r\n":                        http.StatusBadRequest, // to come
		"Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n":      http.StatusBadRequest,
		"Transfer-Encoding: chunked\r\n\r\n":                http.StatusBadRequest,
		"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":       0, // as without
		"Content-Length: 0\r\n\r\n":                         0,
		"Expect: 100-continue\r\nContent-Length: 9\r\n\r\n": http.StatusBadRequest,
	} {
		onPlainServer(t, false, func(t *testing.T, c *controller.Controller, what string, conn net.Conn) {
			if !strings.HasPrefix(what, "GET") {
				return
			}
			go func() { _, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\n%s", what, head) }()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err, what)
			if status != 0 {
				require.Equal(t, status, resp.StatusCode, "%s %q", what, head)
				fleet, err := c.Fleet(t.Context())
				require.NoError(t, err)
				require.Empty(t, fleet, what)
				return
			}
			if strings.Contains(what, "/ws") { // no upgrade was asked for
				require.Equal(t, http.StatusBadRequest, resp.StatusCode)
				return
			}
			require.Equal(t, http.StatusOK, resp.StatusCode, "%s %q", what, head)
		})
	}
}

// A connection is kept for the next request where a small body has come, also if the request was refused; where a large one
// was not read it is not.
func TestKeptConnections(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		asked bool
		size  int
		close bool
	}{
		{true, 1 << 10, false}, {false, 1 << 10, false}, {false, 500 << 10, false}, {true, 500 << 10, true},
	} {
		onPlainServer(t, test.asked, func(t *testing.T, _ *controller.Controller, what string, conn net.Conn) {
			if what != "POST /vms/vm-1/events" {
				return
			}
			go func() {
				_, _ = fmt.Fprintf(conn, "%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n[]%s", what, test.size, strings.Repeat(" ", test.size-2))
			}()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			require.Equal(t, test.close, resp.Close, "%+v: %d", test, resp.StatusCode)
		})
	}
}

// What is mounted beside ours, and reads no body, does not wait for one either on a server of NewServer.
func TestBodiesOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		mux := http.NewServeMux()
		mux.HandleFunc("/healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok") })
		mux.HandleFunc("/upload", func(w http.ResponseWriter, r *http.Request) { // its own business
			n, _ := io.Copy(io.Discard, r.Body)
			fmt.Fprint(w, n)
		})
		mux.HandleFunc("/mine", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				return
			}
			go func() { // what was taken over is not touched
				defer conn.Close()
				time.Sleep(time.Minute)
				b := make([]byte, 1)
				if _, err := conn.Read(b); err == nil {
					_, _ = conn.Write(b)
				}
			}()
		})
		client, stop := memnet.Serve(web.NewServer(t.Context(), mux, web.ServerOptions{}))
		defer stop()
		for path, want := range map[string]struct {
			after time.Duration
			says  string
		}{
			"/healthz": {2 * time.Second, "ok"}, "/nowhere": {2 * time.Second, "404"}, "//healthz": {2 * time.Second, "/healthz"},
			"/upload": {101 * time.Second, "100"}, "/mine": {91 * time.Second, "x"},
		} {
			conn, err := client.Transport.(*http.Transport).DialContext(t.Context(), "tcp", "")
			require.NoError(t, err)
			began := time.Now()
			go func() {
				last := ""
				if path == "/upload" { // or the connection would be kept
					last = "Connection: close\r\n"
				}
				_, err := io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: x\r\n"+last+"Content-Length: 100\r\n\r\n")
				for range 100 {
					if err == nil {
						time.Sleep(time.Second)
						_, err = io.WriteString(conn, "x")
					}
				}
			}()
			b, _ := io.ReadAll(conn)
			require.Contains(t, string(b), want.says, path)
			require.LessOrEqual(t, time.Since(began), want.after, path)
			conn.Close()
		}
		time.Sleep(2 * time.Minute)
	})
}
