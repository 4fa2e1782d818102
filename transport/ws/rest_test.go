package ws_test

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// rests waits until no goroutine is there for a link at a controller. It is for tests that do not run beside others.
func rests(t *testing.T) {
	t.Helper()
	stacks := make([]byte, 1<<20)
	require.Eventually(t, func() bool {
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "framed.(*Session)")
	}, time.Minute, time.Millisecond)
}

// While nothing happens a link has no goroutine at the controller; whatever happens then happens as it always does.
func TestRests(t *testing.T) { //nolint:paralleltest // see rests
	needs.Linux(t, "elsewhere a goroutine waits for each link")
	ca := certtest.NewAuthority(t)
	for name, config := range map[string]*tls.Config{
		"plain": nil,
		"TLS":   {Certificates: []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}, MinVersion: tls.VersionTLS13},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // see rests
			c := controller.New(memory.New(), controller.Options{})
			s := httptest.NewUnstartedServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{Keepalive: 300 * time.Millisecond})))
			if s.TLS = config; config == nil {
				s.Start()
			} else {
				s.StartTLS()
			}
			defer s.Close()
			defer c.Close()
			var trusting *tls.Config
			if config != nil {
				trusting = &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS13}
			}

			l, err := dial(t, s.URL, ws.Options{TLS: trusting})
			require.NoError(t, err)
			for range 3 { // with a ping or two between them
				rests(t)
				r := send(t, c, command.Drain{Reason: strings.Repeat("long ", 1000)})
				page, err := l.Receive(t.Context())
				require.NoError(t, err)
				require.Equal(t, r.ID(), page[0].ID)
				require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Received}, ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
				_, err = r.Wait(t.Context())
				require.NoError(t, err)
			}
			rests(t)
			require.NoError(t, l.Close())
			detached(t, c)

			// The keepalive ends a link that rests and answers nothing.
			d := websocket.Dialer{Subprotocols: []string{"miglink.v1.greeted"}, TLSClientConfig: trusting}
			mute, _, err := d.DialContext(t.Context(), "ws"+strings.TrimPrefix(s.URL, "http")+"/api/v1/vms/vm-1/commands/ws", nil)
			require.NoError(t, err)
			defer mute.Close()
			detached(t, c)

			// And so does the controller.
			l, err = dial(t, s.URL, ws.Options{TLS: trusting})
			require.NoError(t, err)
			rests(t)
			require.NoError(t, c.Close())
			_, err = l.Receive(t.Context())
			require.ErrorIs(t, err, transport.ErrUnavailable)
			require.NoError(t, l.Close())
			rests(t)
		})
	}
}

func detached(t *testing.T, c *controller.Controller) {
	t.Helper()
	require.Eventually(t, func() bool {
		p, _ := c.Presence("vm-1")
		return !p.Attached
	}, time.Minute, time.Millisecond)
}

// What is between may keep connections: a link rests on one, too, that has rested before.
func TestRestsAgain(t *testing.T) { //nolint:paralleltest // see rests
	needs.Linux(t, "elsewhere a goroutine waits for each link")
	c, s := serve(t, 0)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	in := bufio.NewReader(conn)
	ask := func(request string, status int) {
		_, err := io.WriteString(conn, request)
		require.NoError(t, err)
		resp, err := http.ReadResponse(in, nil)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		require.Equal(t, status, resp.StatusCode)
	}
	ask("POST /api/v1/vms/vm-2/events HTTP/1.1\r\nHost: localhost\r\nMiglink-Rest: 1\r\nContent-Length: 2\r\n\r\n[]", http.StatusOK)
	ask("GET /api/v1/vms/vm-1/commands/ws HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: miglink.v1.greeted\r\n\r\n",
		http.StatusSwitchingProtocols)
	rests(t)
	p, _ := c.Presence("vm-1")
	require.True(t, p.Attached)
}
