package bench_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/web"
)

var names = []string{"ws", "sse", "longpoll", "grpc", "nats", "redis", "rabbitmq"}

// prefix keeps to ourselves on a broker that others use.
const prefix = "miglink-bench"

// serve puts a transport in front of c, and returns the URL for its agents.
func serve(b *testing.B, name string, c *controller.Controller) string {
	b.Helper()
	b.Cleanup(func() { c.Close() })
	var l io.Closer
	var url string
	var err error
	switch name {
	case "nats":
		url = startBroker(b)
		l, err = nats.Listen(b.Context(), url, c, nats.ListenOptions{Prefix: prefix})
	case "redis":
		url = brokerURL(b, name)
		l, err = redis.Listen(b.Context(), url, c, redis.ListenOptions{Prefix: prefix})
	case "rabbitmq":
		url = brokerURL(b, name)
		l, err = rabbitmq.Listen(b.Context(), url, c, rabbitmq.ListenOptions{Prefix: prefix})
	}
	require.NoError(b, err)
	if l != nil {
		b.Cleanup(func() { l.Close() })
		return url
	}
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	return serveHTTP(b, mux)
}

// serveHTTP serves h as HTTP/1.1 and HTTP/2, without TLS.
func serveHTTP(b *testing.B, h http.Handler) string {
	b.Helper()
	s := httptest.NewUnstartedServer(h)
	s.Config.Protocols = new(http.Protocols)
	s.Config.Protocols.SetHTTP1(true)
	s.Config.Protocols.SetUnencryptedHTTP2(true)
	s.Start()
	b.Cleanup(s.Close)
	return s.URL
}

// startBroker starts a NATS server in this process: what it costs counts on both sides of a comparison.
func startBroker(b *testing.B) string {
	b.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(b, err)
	s.Start()
	b.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(b, s.ReadyForConnections(20*time.Second))
	return s.ClientURL()
}
