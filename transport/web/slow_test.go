package web_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/web"
)

// dialServer runs a test with a connection to what NewServer returns, under fake time.
func dialServer(t *testing.T, test func(t *testing.T, conn net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		l := memnet.Listen()
		server := web.NewServer(t.Context(), web.Handler(c, web.Options{}), web.ServerOptions{})
		served := make(chan struct{})
		go func() {
			defer close(served)
			_ = server.Serve(l)
		}()
		conn, err := l.DialContext(t.Context(), "tcp", "controller")
		require.NoError(t, err)
		require.NoError(t, conn.SetDeadline(time.Now().Add(time.Hour)))
		test(t, conn)
		conn.Close()
		time.Sleep(time.Second) // net/http waits half a second for what it has said last to arrive
		server.Close()
		<-served
	})
}

// A client that says half of something, or nothing more, is waited for so long, and then hung up on.
func TestSlowClients(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, says string
		until      time.Duration
	}{
		{"half a header", "GET /vms/vm-1/commands HTTP/1.1\r\nHost: localhost\r\nX: ", 10 * time.Second},
		{"half a body", "POST /vms/vm-1/commands/ack HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[", 30 * time.Second},
		{"one request", "POST /vms/vm-1/heartbeat HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{}", 2 * time.Minute},
	} {
		dialServer(t, func(t *testing.T, conn net.Conn) {
			began := time.Now()
			go func() { _, _ = io.WriteString(conn, test.says) }()
			_, err := io.Copy(io.Discard, conn)
			require.NoError(t, err, test.name)
			require.GreaterOrEqual(t, time.Since(began), test.until, test.name)
			require.Less(t, time.Since(began), test.until+time.Second, test.name)
		})
	}
}

// A header may take 16 KiB, and what net/http adds to that.
func TestLargeHeader(t *testing.T) {
	t.Parallel()
	for size, status := range map[int]int{12 << 10: http.StatusOK, 24 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		dialServer(t, func(t *testing.T, conn net.Conn) {
			go func() {
				_, _ = io.WriteString(conn, "GET /vms/vm-1/commands HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
			}()
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			require.NoError(t, err)
			defer resp.Body.Close()
			require.Equal(t, status, resp.StatusCode)
		})
	}
}
