package ws_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

// serve is a controller behind a server; keepalive may be 0.
func serve(t *testing.T, keepalive time.Duration) (*controller.Controller, *httptest.Server) {
	t.Helper()
	c := controller.New(memory.New(), controller.Options{})
	s := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{Keepalive: keepalive})))
	t.Cleanup(func() {
		c.Close()
		s.Close()
	})
	return c, s
}

func send(t *testing.T, c *controller.Controller, p command.Params) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(p, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	return r
}

func dial(t *testing.T, url string, o ws.Options) (transport.Link, error) {
	t.Helper()
	tr, err := ws.New(url, o)
	require.NoError(t, err)
	return tr.Dial(t.Context(), hello)
}

// byHand is a connection as somebody else's WebSocket library opens it.
func byHand(t *testing.T, s *httptest.Server, header http.Header, subprotocols ...string) (*websocket.Conn, *http.Response, error) {
	t.Helper()
	d := websocket.Dialer{Subprotocols: subprotocols}
	url := "ws" + strings.TrimPrefix(s.URL, "http") + "/api/v1/vms/vm-1/commands/ws"
	conn, resp, err := d.DialContext(t.Context(), url, header)
	if err == nil {
		t.Cleanup(func() { conn.Close() })
	}
	return conn, resp, err
}

func TestHandWrittenClient(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 0)
	conn, _, err := byHand(t, s, nil, "other", "miglink.v1")
	require.NoError(t, err)
	require.Equal(t, "miglink.v1", conn.Subprotocol())
	say := func(s string) { require.NoError(t, conn.WriteMessage(websocket.TextMessage, []byte(s))) }
	hear := func() string {
		kind, b, err := conn.ReadMessage()
		require.NoError(t, err)
		require.Equal(t, websocket.TextMessage, kind)
		return string(b)
	}
	say(`{"n":1,"hello":{"version":1,"vm_id":"vm-1","instance":"i-1"}}`)
	require.JSONEq(t, `{"n":1,"welcome":{"version":1,"keepalive":15}}`, hear())
	r := send(t, c, command.Drain{Reason: "deploy"})
	require.Contains(t, hear(), r.ID())
	say(fmt.Sprintf(`{"n":2,"acks":[{"command_id":%q,"status":"processed"}]}`, r.ID()))
	require.JSONEq(t, `{"n":3,"recorded":{"upto":2}}`, hear())
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)

	// A ping of WebSocket's own is answered, too.
	pong := make(chan string, 1)
	conn.SetPongHandler(func(data string) error {
		pong <- data
		return nil
	})
	require.NoError(t, conn.WriteControl(websocket.PingMessage, []byte("x"), time.Now().Add(time.Minute)))
	go conn.ReadMessage()
	require.Equal(t, "x", <-pong)
}

// What is no message of the protocol ends the connection, with a reason for those who speak only
// WebSocket.
func TestNonsense(t *testing.T) {
	t.Parallel()
	const hello = `{"n":1,"hello":{"version":1,"vm_id":"vm-1"}}`
	for _, test := range []struct {
		name string
		send func(conn *websocket.Conn) error
		code int
	}{
		{"no JSON", func(c *websocket.Conn) error { return c.WriteMessage(websocket.TextMessage, []byte("hi")) }, websocket.CloseProtocolError},
		{"binary", func(c *websocket.Conn) error { return c.WriteMessage(websocket.BinaryMessage, []byte(hello)) }, websocket.CloseProtocolError},
		{"a lost message", func(c *websocket.Conn) error {
			return c.WriteMessage(websocket.TextMessage, []byte(strings.Replace(hello, "1", "2", 1)))
		}, websocket.CloseProtocolError},
		{"another VM", func(c *websocket.Conn) error {
			return c.WriteMessage(websocket.TextMessage, []byte(strings.Replace(hello, "vm-1", "vm-2", 1)))
		}, websocket.ClosePolicyViolation},
		{"too large", func(c *websocket.Conn) error {
			_ = c.WriteMessage(websocket.TextMessage, []byte(hello+strings.Repeat(" ", 2<<20)))
			return nil // it may be over before all is written
		}, websocket.CloseMessageTooBig},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, s := serve(t, 0)
			conn, _, err := byHand(t, s, nil, "miglink.v1")
			require.NoError(t, err)
			require.NoError(t, test.send(conn))
			for err == nil {
				_, _, err = conn.ReadMessage()
			}
			var closed *websocket.CloseError
			if test.code == websocket.CloseMessageTooBig && !errors.As(err, &closed) {
				return // the reset that unread bytes cause may overtake the reason
			}
			require.ErrorAs(t, err, &closed)
			require.Equal(t, test.code, closed.Code, "%s", err)
		})
	}
}

// A request that cannot become a WebSocket is answered with a problem document.
func TestUpgradeErrors(t *testing.T) {
	t.Parallel()
	_, s := serve(t, 0)
	for _, test := range []struct {
		name         string
		header       http.Header
		subprotocols []string
		status       int
		code         string
	}{
		{"no subprotocol", nil, nil, 400, "protocol"},
		{"another", nil, []string{"chat"}, 400, "protocol"},
		{"a browser elsewhere", http.Header{"Origin": {"https://evil.example"}}, []string{"miglink.v1"}, 403, "forbidden"},
	} {
		_, resp, err := byHand(t, s, test.header, test.subprotocols...)
		require.ErrorIs(t, err, websocket.ErrBadHandshake, test.name)
		require.Equal(t, test.status, resp.StatusCode, test.name)
		b, err := io.ReadAll(resp.Body)
		require.NoError(t, err)
		require.Contains(t, string(b), `"code":"`+test.code+`"`, test.name)
	}
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	answer := func(h http.HandlerFunc) string {
		s := httptest.NewServer(h)
		t.Cleanup(s.Close)
		return s.URL
	}
	upgrade := func(subprotocols ...string) string {
		return answer(func(w http.ResponseWriter, r *http.Request) {
			u := websocket.Upgrader{Subprotocols: subprotocols}
			conn, err := u.Upgrade(w, r, nil)
			if err == nil {
				conn.Close()
			}
		})
	}
	problem := func(status int, code string) string {
		return answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			fmt.Fprintf(w, `{"type":"urn:miglink:error:%s","code":%q,"detail":"why","retry_after":3}`, code, code)
		})
	}
	for _, test := range []struct {
		name, url string
		is        error
		says      string
	}{
		{"superseded", problem(409, "superseded"), transport.ErrSuperseded, "why"},
		{"unauthorized", problem(401, "unauthorized"), transport.ErrUnauthorized, "retry after 3s"},
		{"a proxy that does not know WebSocket", answer(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }), nil, "something between"},
		{"a proxy that is overloaded", answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }), nil, "502"},
		{"another WebSocket server", upgrade(), nil, `it speaks "", neither "miglink.v1.greeted" nor "miglink.v1"`},
		{"one that takes any subprotocol", upgrade("miglink.v1.greeted"), nil, "without the header Miglink-Keepalive"},
		{"one that ends at once", upgrade("miglink.v1"), nil, "ws: "},
		{"nobody", "http://127.0.0.1:1", nil, "refused"},
	} {
		_, err := dial(t, test.url, ws.Options{})
		require.ErrorContains(t, err, test.says, test.name)
		if test.is != nil {
			require.ErrorIs(t, err, test.is, test.name)
		}
	}
	_, err := ws.New("ws://controller", ws.Options{})
	require.ErrorContains(t, err, "neither http:// nor https://")
}

// A controller that accepts and says nothing does not hold a dial longer than its context allows.
func TestDialIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr, err := ws.New("http://"+l.Addr().String(), ws.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = tr.Dial(ctx, hello)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestTLS(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	s := httptest.NewTLSServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	defer s.Close()
	defer c.Close()
	s.Config.ErrorLog = nil

	_, err := dial(t, s.URL, ws.Options{})
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))

	config := s.Client().Transport.(*http.Transport).TLSClientConfig
	l, err := dial(t, s.URL, ws.Options{TLS: config, Token: func(context.Context) (string, error) { return "t", nil }})
	require.NoError(t, err)
	defer l.Close()
	r := send(t, c, command.Drain{})
	page, err := l.Receive(t.Context())
	require.NoError(t, err)
	require.Equal(t, r.ID(), page[0].ID)
}

// TLS 1.2 is spoken by who has said so.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 0)
	ca := certtest.NewAuthority(t)
	addr, versions := certtest.Front(t, certtest.Old(t, ca), s.Listener.Addr().String())
	_, err := dial(t, "https://"+addr, ws.Options{TLS: &tls.Config{RootCAs: ca.Pool()}})
	require.ErrorContains(t, err, "protocol version")
	l, err := dial(t, "https://"+addr, ws.Options{TLS: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}})
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.EqualValues(t, tls.VersionTLS12, <-versions)
	require.NoError(t, c.Close())
}

// Either end notices that the other is gone without a sign.
func TestHalfOpen(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 50*time.Millisecond)
	p, err := fault.NewProxy(strings.TrimPrefix(s.URL, "http://"), 1)
	require.NoError(t, err)
	defer p.Close()
	l, err := dial(t, "http://"+p.Addr(), ws.Options{})
	require.NoError(t, err)
	defer l.Close()
	notices := c.Watch(t.Context())
	p.BlackHole(true)
	_, err = l.Receive(t.Context())
	require.ErrorContains(t, err, "nothing was heard")
	for presence, _ := c.Presence("vm-1"); presence.Attached; presence, _ = c.Presence("vm-1") {
		select { // the end of a link is no notice of its own: look again now and then
		case <-notices:
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// A message near the limits of commands fits: the largest parameters, many at a time.
func TestLargePages(t *testing.T) {
	t.Parallel()
	c, s := serve(t, 0)
	value := strings.Repeat("\x01", command.MaxParameters/6-100) // six bytes each as JSON
	sent := map[string]bool{}
	for range 20 {
		sent[send(t, c, command.UpdateConfig{ConfigKey: "k", ConfigValue: value}).ID()] = true
	}
	l, err := dial(t, s.URL, ws.Options{})
	require.NoError(t, err)
	defer l.Close()
	for len(sent) > 0 {
		page, err := l.Receive(t.Context())
		require.NoError(t, err)
		for _, d := range page {
			p, err := command.Decode[command.UpdateConfig](d.Command)
			require.NoError(t, err)
			require.Equal(t, value, p.ConfigValue)
			delete(sent, d.ID)
		}
	}
}
