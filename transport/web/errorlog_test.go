package web_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport/web"
)

// Strangers who fail a TLS handshake, or send what is no request, write a bounded number of lines to the log, each in its
// format; and a panic of a handler, whose stack may be long, some KiB.
func TestStrangersInTheLog(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	var b bytes.Buffer
	server := web.NewServer(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
		deep(1000)
	}), web.ServerOptions{Log: slog.New(slog.NewJSONHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	server.TLSConfig.Certificates = []tls.Certificate{ca.Server(t, "127.0.0.1").TLS(t)}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- server.ServeTLS(l, "", "") }()

	for i := range 2000 {
		conn, err := net.Dial("tcp", l.Addr().String())
		require.NoError(t, err)
		what := "GET / HTTP/1.1\r\n\r\n" // in the clear
		if i%2 == 0 {
			what = "\x16\x03\x01\x00\x05\x01\x00\x00\x01\x03\n\x1b[2J"
		}
		_, _ = io.WriteString(conn, what)
		_, _ = io.Copy(io.Discard, conn) // until it is hung up on
		conn.Close()
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool()}}}
	for range 100 {
		_, err := client.Get("https://" + l.Addr().String() + "/" + strings.Repeat("x", 5000)) //nolint:bodyclose // there is none
		require.Error(t, err)
	}
	client.CloseIdleConnections()
	require.NoError(t, server.Close())
	require.ErrorIs(t, <-served, http.ErrServerClosed)

	require.Less(t, b.Len(), 256<<10, "2,000 strangers and 100 panics")
	kinds := map[string]int{}
	for line := range bytes.Lines(b.Bytes()) {
		require.Less(t, len(line), 16<<10)
		var said struct {
			Msg       string
			Component string
			Remote    string
			Error     string
			Level     string
			Panic     string
			Stack     string
		}
		require.NoError(t, json.Unmarshal(line, &said), "%s", line)
		require.Equal(t, "http", said.Component)
		kinds[said.Msg]++
		switch said.Msg {
		case "TLS handshake failed":
			require.Contains(t, said.Remote, "127.0.0.1:")
			require.NotEmpty(t, said.Error)
		case "serving a peer has panicked":
			require.NotContains(t, string(line), "deep enough", "the value may be a secret")
		case "value and stack of a panic":
			require.Equal(t, "DEBUG", said.Level)
			require.Contains(t, said.Panic, "deep enough")
			require.Contains(t, said.Stack, "errorlog_test.go")
		default:
			require.NotEmpty(t, said.Error)
		}
	}
	require.NotZero(t, kinds["TLS handshake failed"])
	require.NotZero(t, kinds["serving a peer has panicked"])
	require.NotZero(t, kinds["value and stack of a panic"])
	t.Log(kinds, b.Len(), "bytes")
}

// deep panics with a long stack.
func deep(n int) {
	if n == 0 {
		panic("deep enough")
	}
	deep(n - 1)
}
