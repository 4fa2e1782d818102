package bench

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats-server/v2/server"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/bolt"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/web"
)

// benchPrefix keeps to ourselves on a broker that others use.
const benchPrefix = "miglink-bench"

// place is where agents find their controller.
type place struct {
	URL    string `json:"url"`
	Prefix string `json:"prefix,omitempty"` // on a broker
}

// cleanup is what is to be undone, the last first.
type cleanup []func()

func (c *cleanup) add(f func()) { *c = append(*c, f) }

func (c *cleanup) run() {
	for i := len(*c) - 1; i >= 0; i-- {
		(*c)[i]()
	}
	*c = nil
}

// openLedger returns an empty one, which goes with clean.
func openLedger(name string, clean *cleanup) (ledger.Ledger, error) {
	if name == "memory" {
		return memory.New(), nil
	}
	dir, err := os.MkdirTemp("", "miglink-bench-")
	if err != nil {
		return nil, err
	}
	clean.add(func() { os.RemoveAll(dir) })
	l, err := bolt.Open(dir)
	if err != nil {
		return nil, err
	}
	clean.add(func() { l.Close() })
	return l, nil
}

// serve puts a transport in front of c, for its agents.
func (o *Options) serve(ctx context.Context, name string, c *controller.Controller, clean *cleanup) (at place, err error) {
	var l io.Closer
	at.Prefix = benchPrefix + "-" + uuid.NewString()
	if at.URL, err = o.broker(name, clean); err != nil {
		return at, err
	}
	switch name {
	case "nats":
		l, err = nats.Listen(ctx, at.URL, c, nats.ListenOptions{Prefix: at.Prefix})
	case "redis":
		l, err = redis.Listen(ctx, at.URL, c, redis.ListenOptions{Prefix: at.Prefix})
	case "rabbitmq":
		l, err = rabbitmq.Listen(ctx, at.URL, c, rabbitmq.ListenOptions{Prefix: at.Prefix})
	default:
		mux := http.NewServeMux()
		mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
		mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
		at.URL, err = serveHTTP(mux, clean)
		return at, err
	}
	if err != nil {
		return at, err
	}
	clean.add(func() { l.Close() })
	return at, nil
}

// broker returns the URL of a transport's broker; empty: it has none.
func (o *Options) broker(name string, clean *cleanup) (string, error) {
	switch name {
	case "nats":
		return startNATS(clean)
	case "redis":
		return o.Redis, nil
	case "rabbitmq":
		return o.AMQP, nil
	}
	return "", nil
}

// serveHTTP serves h as HTTP/1.1 and HTTP/2, without TLS.
func serveHTTP(h http.Handler, clean *cleanup) (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l) //nolint:errcheck // it ends with Close
	clean.add(func() { s.Close() })
	return "http://" + l.Addr().String(), nil
}

// startNATS starts a server in this process: what it costs counts on both sides of a comparison.
func startNATS(clean *cleanup) (string, error) {
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	if err != nil {
		return "", err
	}
	s.Start()
	clean.add(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	if !s.ReadyForConnections(readyTime) {
		return "", errors.New("the NATS server does not start")
	}
	return s.ClientURL(), nil
}
