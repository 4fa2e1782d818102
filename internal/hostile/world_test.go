package hostile

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// patience bounds each wait for what must happen; it is no measure of speed.
const patience = 60 * time.Second

// world is a controller with every HTTP transport, gRPC and NATS, and a VM that means well.
type world struct {
	t      testing.TB
	c      *controller.Controller
	addr   string // of HTTP
	broker string // URL
	logs   *buffer

	refused atomic.Int64 // credentials
}

// only is a token for each VM, its name.
func (w *world) only(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
	if c.Token != vm {
		w.refused.Add(1)
		return transport.Grant{}, transport.Errorf(transport.CodeUnauthorized, "this is no token of the VM")
	}
	return transport.Grant{}, nil
}

func newWorld(t testing.TB) *world {
	t.Helper()
	existing := goleak.IgnoreCurrent()
	// net/http waits half a second on a connection that it closes unread, for its answer to arrive.
	closing := goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait")
	t.Cleanup(func() { goleak.VerifyNone(t, existing, closing) })
	w := &world{t: t, logs: &buffer{}}
	log := slog.New(slog.NewTextHandler(w.logs, nil))
	w.c = controller.New(memory.New(), controller.Options{Log: log})
	only := transport.AuthenticatorFunc(w.only)
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(w.c, web.Options{Authenticator: only, Log: log})))
	mux.Handle(grpc.Handler(w.c, grpc.HandlerOptions{Authenticator: only, Log: log}))
	w.addr = serve(t, mux)
	w.broker = natsServer(t)
	l, err := nats.Listen(t.Context(), w.broker, w.c, nats.ListenOptions{Authenticator: only, Log: log})
	require.NoError(t, err)
	t.Cleanup(func() {
		w.c.Close()
		l.Close()
	})
	good, err := ws.New("http://"+w.addr, ws.Options{Token: token("good")})
	require.NoError(t, err)
	runAgent(t, good, "good")
	return w
}

// natsServer runs a NATS server until the end of the test, and returns its URL.
func natsServer(t testing.TB) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{Host: "127.0.0.1", Port: server.RANDOM_PORT, NoLog: true, NoSigs: true})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return s.ClientURL()
}

// serve serves h as web.NewServer does, until the end of the test.
func serve(t testing.TB, h http.Handler) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s := web.NewServer(ctx, h, web.ServerOptions{})
	s.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l)
	}()
	t.Cleanup(func() {
		cancel()
		s.Close()
		<-served
	})
	return l.Addr().String()
}

func token(s string) transport.TokenSource {
	return func(context.Context) (string, error) { return s, nil }
}

// counted are the runs of an agent's handlers, by command ID.
type counted struct {
	mu   sync.Mutex
	runs map[string]int
}

// runAgent runs an agent that does what it is told, until the end of the test.
func runAgent(t testing.TB, tr transport.Transport, vm string) *counted {
	t.Helper()
	a, err := agent.New(tr, agent.Options{VM: vm, BackoffInitial: time.Millisecond, BackoffMax: 5 * time.Millisecond, StopGrace: time.Millisecond})
	require.NoError(t, err)
	c := &counted{runs: map[string]int{}}
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.SetLogLevel) (any, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.runs[job.Command().ID]++
		return nil, nil
	}, agent.Policy{})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = a.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return c
}

func send(t testing.TB, c *controller.Controller, vm string) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(command.SetLogLevel{Level: "debug"}, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), vm, cmd)
	require.NoError(t, err)
	return r
}

func succeeds(t testing.TB, r *controller.Receipt) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	e, err := r.Wait(ctx)
	require.NoError(t, err)
	require.Equal(t, ack.Succeeded, e.State.Stage)
}

// withstands runs an attack, and has the VM that means well served all the while. What has been allocated and is
// still held after it is less than so many MiB.
func (w *world) withstands(attack func(), mebibytes int) {
	w.t.Helper()
	before := held()
	over := make(chan struct{})
	go func() {
		defer close(over)
		attack()
	}()
	next := time.NewTicker(5 * time.Millisecond) // the attack is to have some of the machine
	defer next.Stop()
	for going := true; going; {
		select {
		case <-over:
			going = false
		case <-next.C:
		}
		succeeds(w.t, send(w.t, w.c, "good"))
	}
	within(w.t, before, mebibytes)
}

// held is what is allocated and reachable, in bytes.
func held() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes at the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func within(t testing.TB, before uint64, mebibytes int) {
	t.Helper()
	if grown := int64(held()) - int64(before); grown > int64(mebibytes)<<20 {
		t.Errorf("%d KiB more are held than before, at most %d MiB are allowed", grown>>10, mebibytes)
	}
}

// buffer is a bytes.Buffer for concurrent use.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}
