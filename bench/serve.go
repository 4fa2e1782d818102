package bench

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"syscall"
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

	VMs       string `json:"vms,omitempty"` // begins their names
	TokenFile string `json:"token_file,omitempty"`
	Insecure  bool   `json:"insecure,omitempty"` // the token may go in the clear
}

func (p place) vm(i int) string { return p.VMs + vmName(i) }

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
	l, err := bolt.Open(dir, bolt.Options{})
	if err != nil {
		return nil, err
	}
	clean.add(func() { l.Close() })
	return l, nil
}

// place is where a transport's broker is; its URL is empty where it has none.
func (o *Options) place(name string, clean *cleanup) (place, error) {
	url, err := o.broker(name, clean)
	return place{URL: url, Prefix: benchPrefix + "-" + uuid.NewString()}, err
}

// serve puts a transport in front of c, for its agents. One without a broker listens, and says where.
func serve(ctx context.Context, name string, at *place, listen string, c *controller.Controller, clean *cleanup) error {
	var l io.Closer
	var err error
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
		at.URL, err = serveHTTP(mux, listen, clean)
		return err
	}
	if err != nil {
		return err
	}
	clean.add(func() { l.Close() })
	return nil
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

// anyPort is an address to listen on.
const anyPort = "127.0.0.1:0"

// listenTime is how long a port may be another's: the dial of an agent, which finds nobody there, may have been
// given the same port for its own end.
const listenTime = 5 * time.Second

// serveHTTP serves h as HTTP/1.1 and HTTP/2, without TLS.
func serveHTTP(h http.Handler, address string, clean *cleanup) (string, error) {
	l, err := net.Listen("tcp", address) //nolint:noctx // loopback
	for end := time.Now().Add(listenTime); errors.Is(err, syscall.EADDRINUSE) && time.Now().Before(end); {
		time.Sleep(time.Millisecond)
		l, err = net.Listen("tcp", address) //nolint:noctx // loopback
	}
	if err != nil {
		return "", err
	}
	s := &http.Server{Handler: h, Protocols: new(http.Protocols), ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go s.Serve(l) //nolint:errcheck // it ends with Close
	clean.add(func() { s.Close() })
	return "http://" + l.Addr().String(), nil
}

// startNATS starts a server in this process: what it costs counts on both sides of a comparison. Its memory of the last
// 10,000 connections that were closed, for who monitors it, would count as what a VM costs that has gone.
func startNATS(clean *cleanup) (string, error) {
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true, MaxClosedClients: 1,
	})
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
