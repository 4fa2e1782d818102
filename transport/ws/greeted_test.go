package ws_test

import (
	"bufio"
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// greet is a connection whose request was the hello, as somebody else's WebSocket library opens it.
func greet(t *testing.T, s *httptest.Server, query string, header http.Header) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: []string{"miglink.v1.greeted", "miglink.v1"}}
	url := "ws" + strings.TrimPrefix(s.URL, "http") + "/api/v1/vms/vm-1/commands/ws?" + query
	conn, resp, err := d.DialContext(t.Context(), url, header)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, resp, err
}

// The request may be the hello, and its answer is the welcome then: the first frame is a command.
func TestGreeted(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 1500*time.Millisecond)
	r := send(t, c, command.Drain{})
	conn, resp, err := greet(t, s, "instance=i-1&window=7", nil)
	require.NoError(t, err)
	require.Equal(t, "miglink.v1.greeted", conn.Subprotocol())
	require.Equal(t, "1.5", resp.Header.Get("Miglink-Keepalive"))
	_, b, err := conn.ReadMessage()
	require.NoError(t, err)
	require.Contains(t, string(b), `{"n":1,"commands":[`)
	require.Contains(t, string(b), r.ID())
	p, _ := c.Presence("vm-1")
	require.Equal(t, "i-1", p.Instance)
	require.Equal(t, "ws", p.Transport)
	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1,"acks":[{"command_id":"`+r.ID()+`","status":"processed"}]}`)))
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)

	require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"n":2,"hello":{"version":1,"vm_id":"vm-1"}}`)))
	for err == nil {
		_, _, err = conn.ReadMessage()
	}
	require.True(t, websocket.IsCloseError(err, websocket.CloseProtocolError), "%s: a second hello", err)
}

// A hello that is refused is answered like any other request, and takes nobody's place.
func TestGreetedInVain(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 0)
	for _, instance := range []string{"i-1", "i-2"} {
		conn, _, err := greet(t, s, "instance="+instance, nil)
		require.NoError(t, err)
		require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(`{"n":1,"events":[]}`)))
		_, _, err = conn.ReadMessage() // it was heard of
		require.NoError(t, err)
	}
	for _, test := range []struct {
		query  string
		header http.Header
		status int
		code   string
	}{
		{"instance=i-1", nil, 409, "superseded"},
		{"instance=i-3&window=many", nil, 400, "invalid"},
		{"instance=i-3", http.Header{"Origin": {"https://evil.example"}}, 403, "forbidden"},
		{"instance=i-3", http.Header{"Origin": {"::"}}, 403, "forbidden"},
	} {
		_, resp, err := greet(t, s, test.query, test.header)
		require.ErrorIs(t, err, websocket.ErrBadHandshake)
		require.Equal(t, test.status, resp.StatusCode)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Contains(t, string(b), `"code":"`+test.code+`"`)
		p, _ := c.Presence("vm-1")
		require.True(t, p.Attached)
		require.Equal(t, "i-2", p.Instance)
	}
	_, _, err := greet(t, s, "instance=i-2", http.Header{"Origin": {s.URL}})
	require.NoError(t, err)

	resp, err := http.Get(s.URL + "/api/v1/vms/vm-1/commands/ws")
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusBadRequest, resp.StatusCode)
}

// A request that is not all of an upgrade, as what is in between may leave it, takes nobody's place.
func TestGreetedWithoutUpgrade(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 0)
	_, _, err := greet(t, s, "instance=i-1", nil)
	require.NoError(t, err)
	whole := http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"miglink.v1.greeted"},
	}
	for lacks := range whole {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL+"/api/v1/vms/vm-1/commands/ws?instance=i-2", http.NoBody)
		require.NoError(t, err)
		req.Header = whole.Clone()
		req.Header.Del(lacks)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		resp.Body.Close()
		require.Equal(t, http.StatusBadRequest, resp.StatusCode, lacks)
		p, _ := c.Presence("vm-1")
		require.True(t, p.Attached, lacks)
		require.Equal(t, "i-1", p.Instance, lacks)
	}
}

// An upgrade that fails after its hello leaves no link behind.
func TestGreetedUpgradeFails(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	h := web.Handler(c, web.Options{})
	req := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "http://localhost/vms/vm-1/commands/ws", http.NoBody)
	req.Header = http.Header{
		"Connection": {"Upgrade"}, "Upgrade": {"websocket"}, "Sec-Websocket-Version": {"13"},
		"Sec-Websocket-Key": {"dGhlIHNhbXBsZSBub25jZQ=="}, "Sec-Websocket-Protocol": {"miglink.v1.greeted"},
	}
	w := brokenHijack{httptest.NewRecorder()}
	h.ServeHTTP(w, req)
	require.Equal(t, http.StatusBadRequest, w.Code)
	p, known := c.Presence("vm-1")
	require.True(t, known)
	require.False(t, p.Attached)
}

// brokenHijack is a connection that cannot be taken over, though it seems so.
type brokenHijack struct{ *httptest.ResponseRecorder }

func (brokenHijack) Hijack() (net.Conn, *bufio.ReadWriter, error) { return nil, nil, net.ErrClosed }

// Behind a middleware that hides the connection an agent is told what to mend, and takes nobody's place. One that can be
// unwrapped is no hindrance.
func TestMiddleware(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("instance") == "hidden" {
			w = struct{ http.ResponseWriter }{w}
		} else {
			w = unwrapped{w}
		}
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	defer c.Close()
	tr, err := ws.New(s.URL, ws.Options{})
	require.NoError(t, err)
	_, err = tr.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "hidden"})
	require.ErrorIs(t, err, transport.ErrProtocol)
	require.ErrorContains(t, err, "give what it wraps with a method Unwrap() http.ResponseWriter")
	_, known := c.Presence("vm-1")
	require.False(t, known)
	l, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// A proxy that drops the headers of an upgrade is named, with what helps.
func TestUpgradeThatIsDropped(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	for _, header := range []string{"Connection", "Upgrade"} {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Header.Del(header)
			h.ServeHTTP(w, r)
		}))
		tr, err := ws.New(s.URL, ws.Options{})
		require.NoError(t, err)
		_, err = tr.Dial(t.Context(), hello)
		require.ErrorIs(t, err, transport.ErrProtocol)
		require.ErrorContains(t, err, "a proxy has dropped them, if they were sent; have it pass them on, or use sse or longpoll")
		s.Close()
	}
	require.NoError(t, c.Close())
}

type unwrapped struct{ http.ResponseWriter }

func (w unwrapped) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// An uplink says so in its request, and supersedes nothing.
func TestGreetedUplink(t *testing.T) {
	t.Parallel()
	events := make(chan string, 1)
	c := controller.New(memory.New(), controller.Options{OnEvent: func(_ context.Context, vm string, e event.Event) error {
		events <- vm + " " + e.Type
		return nil
	}})
	s := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	defer s.Close()
	defer c.Close()
	tr, err := ws.New(s.URL, ws.Options{})
	require.NoError(t, err)
	down, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	defer down.Close()
	up, err := tr.Dial(t.Context(), transport.Hello{VM: "vm-1", Instance: "i-1", Uplink: true})
	require.NoError(t, err)
	defer up.Close()
	require.NoError(t, up.Report(t.Context(), event.Event{Type: "job_started"}))
	require.Equal(t, "vm-1 job_started", <-events)
	r := send(t, c, command.Drain{})
	page, err := down.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.ID(), page[0].ID)
	require.NoError(t, up.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
}

// Where what is in between takes the welcome out of the answer to an upgrade, the next dial has it come as a frame.
func TestWelcomeThatIsLost(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.StripPrefix("/api/v1", web.Handler(c, web.Options{})).ServeHTTP(&lossy{w}, r)
	}))
	defer s.Close()
	tr, err := ws.New(s.URL, ws.Options{})
	require.NoError(t, err)
	_, err = tr.Dial(t.Context(), hello)
	require.ErrorAs(t, err, new(*transport.ForeignError))
	require.ErrorContains(t, err, "Miglink-Keepalive")
	l, err := tr.Dial(t.Context(), hello)
	require.NoError(t, err)
	defer l.Close()
	require.NoError(t, l.Report(t.Context()))
}

// lossy takes the header of the welcome out of what is written to a connection.
type lossy struct{ http.ResponseWriter }

func (w *lossy) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(w.ResponseWriter).Hijack()
	return &lossyConn{conn}, buffered, err
}

type lossyConn struct{ net.Conn }

func (c *lossyConn) Write(b []byte) (int, error) {
	if _, err := c.Conn.Write(bytes.Replace(b, []byte("Miglink-Keepalive: 15\r\n"), nil, 1)); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A controller that knows only miglink.v1 is told hello by a frame.
func TestControllerThatIsNotGreeted(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	h := http.StripPrefix("/api/v1", web.Handler(c, web.Options{}))
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Header.Set("Sec-WebSocket-Protocol", "miglink.v1")
		h.ServeHTTP(w, r)
	}))
	defer s.Close()
	defer c.Close()
	l, err := dial(t, s.URL, ws.Options{})
	require.NoError(t, err)
	defer l.Close()
	r := send(t, c, command.Drain{})
	page, err := l.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.ID(), page[0].ID)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	p, _ := c.Presence("vm-1")
	require.Equal(t, "i-1", p.Instance)
}
