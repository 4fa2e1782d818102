package tlsfile_test

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/tlsfile"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// All that either end has is replaced while an agent lives: the authority, the server's certificate and the
// client's, which is required. Its link is cut, and the next one is of the new ones; nothing is lost, and
// nothing runs twice.
func TestReplacedUnderLinks(t *testing.T) {
	t.Parallel()
	for name, open := range map[string]func(transport.Config) (transport.Transport, error){
		"ws": ws.Open, "sse": sse.Open, "longpoll": longpoll.Open, "grpc": grpc.Open,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ca := certtest.NewAuthority(t)
			near, far := certtest.NewFiles(t), certtest.NewFiles(t)
			near.Write(ca.Client(t, "vm-1"), ca)
			far.Write(ca.Server(t, "127.0.0.1"), ca)
			c := brokertest.Controller(t)
			mux := http.NewServeMux()
			mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
			mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
			addr := serveTLS(t, mux, server(t, tlsfile.ServerFiles{Cert: far.Cert, Key: far.Key, ClientCA: far.CA, RequireClient: true}))
			way, err := fault.NewProxy(addr, 1)
			require.NoError(t, err)
			defer way.Close()

			tr, err := open(transport.Config{URL: "https://" + way.Addr(), TLS: client(t, tlsfile.ClientFiles{
				CA: near.CA, Cert: near.Cert, Key: near.Key, Addresses: []string{"127.0.0.1"},
			})})
			require.NoError(t, err)
			a := brokertest.Run(t, tr)
			r := brokertest.Send(t, c, command.Drain{})
			brokertest.Succeed(t, r)

			next := certtest.NewAuthority(t)
			near.Write(next.Client(t, "vm-1"), next)
			far.Write(next.Server(t, "127.0.0.1"), next)
			served := &tls.Config{RootCAs: next.Pool(), Certificates: []tls.Certificate{next.Client(t, "test").TLS(t)}}
			require.Eventually(t, func() bool {
				conn, err := tls.Dial("tcp", addr, served)
				if err == nil {
					conn.Close()
				}
				return err == nil
			}, time.Minute, 10*time.Millisecond, "the server has the new ones, and trusts nobody else")
			waiting := brokertest.Send(t, c, command.Drain{})
			dialled := way.Accepted()
			way.Reset()
			brokertest.Succeed(t, waiting, brokertest.Send(t, c, command.Drain{}), brokertest.Send(t, c, command.Drain{}))
			require.Greater(t, way.Accepted(), dialled)
			a.Stop(4)
		})
	}
}

// serveTLS serves h until the test ends.
func serveTLS(t *testing.T, h http.Handler, c *tls.Config) (addr string) {
	t.Helper()
	s := web.NewServer(t.Context(), h, web.ServerOptions{})
	s.TLSConfig, s.ErrorLog = c, log.New(io.Discard, "", 0)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(l, "", "") }()
	t.Cleanup(func() {
		s.Close()
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return l.Addr().String()
}
