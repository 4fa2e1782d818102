package grpc_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"connectrpc.com/connect"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	googlegrpc "google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	reflection "google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/memnet"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/grpc"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
	"github.com/miglink/miglink/transport/grpc/miglinkv1/miglinkv1connect"
	"github.com/miglink/miglink/transport/web"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

// world is a controller behind a server that speaks HTTP/2 without TLS.
type world struct {
	t      *testing.T
	c      *controller.Controller
	server *http.Server
	addr   string
}

func newWorld(t *testing.T, o grpc.HandlerOptions) *world {
	t.Helper()
	w := &world{t: t, c: controller.New(memory.New(), controller.Options{})}
	mux := http.NewServeMux()
	mux.Handle(grpc.Handler(w.c, o))
	for path, h := range grpc.Reflection() {
		mux.Handle(path, h)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.addr = l.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	w.server = web.NewServer(ctx, mux, web.ServerOptions{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		w.server.Serve(l)
	}()
	t.Cleanup(func() {
		w.c.Close()
		cancel()
		w.server.Close()
		<-served
	})
	return w
}

func (w *world) send() *controller.Receipt {
	w.t.Helper()
	cmd, err := command.New(command.Drain{Reason: "deploy"}, command.Options{})
	require.NoError(w.t, err)
	r, err := w.c.Send(w.t.Context(), "vm-1", cmd)
	require.NoError(w.t, err)
	return r
}

func dial(t *testing.T, url string, o grpc.Options) (transport.Link, error) {
	t.Helper()
	tr, err := grpc.New(url, o)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return tr.Dial(ctx, hello)
}

// A client of another implementation, with nothing of ours but the .proto file.
func TestAnotherImplementationsClient(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{})
	conn, err := googlegrpc.NewClient(w.addr, googlegrpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := conn.NewStream(ctx, &googlegrpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/miglink.v1.CommandLink/Attach")
	require.NoError(t, err)
	say := func(f *pb.AgentFrame) { require.NoError(t, stream.SendMsg(f)) }
	hear := func() *pb.ControllerFrame {
		f := &pb.ControllerFrame{}
		require.NoError(t, stream.RecvMsg(f))
		return f
	}
	say(&pb.AgentFrame{N: 1, Frame: &pb.AgentFrame_Hello{Hello: &pb.Hello{Version: 1, VmId: "vm-1", Instance: "i-1"}}})
	require.Equal(t, 15*time.Second, hear().GetWelcome().GetKeepalive().AsDuration())
	r := w.send()
	d := hear().GetCommands().GetDeliveries()
	require.Equal(t, "deploy", d[0].GetCommand().GetDrain().GetReason())
	say(&pb.AgentFrame{N: 2, Frame: &pb.AgentFrame_Acks{Acks: &pb.Acks{Acks: []*pb.Ack{
		{CommandId: r.ID(), Stage: pb.Stage_STAGE_SUCCEEDED, Result: []byte(`"done"`)}, {CommandId: "none", Stage: pb.Stage_STAGE_FAILED},
	}}}})
	recorded := hear().GetRecorded()
	require.Equal(t, uint64(2), recorded.GetUpto())
	require.Equal(t, "unknown_command", recorded.GetRefused()[0].GetError().GetCode())
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, `"done"`, string(e.Result))

	say(&pb.AgentFrame{N: 9, Frame: &pb.AgentFrame_Ping{Ping: &pb.Ping{}}}) // seven are missing
	require.NoError(t, stream.CloseSend())
	for err = nil; err == nil; {
		err = stream.RecvMsg(&pb.ControllerFrame{})
	}
	require.ErrorIs(t, err, io.EOF)
}

// What ends a link is a frame for those who know the protocol, and a status for those who know gRPC.
func TestStatus(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		if c.Token != "of "+vm {
			return transport.Grant{}, errors.New("the key server db-7 is down")
		}
		return transport.Grant{}, nil
	})})
	conn, err := googlegrpc.NewClient(w.addr, googlegrpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	stream, err := conn.NewStream(t.Context(), &googlegrpc.StreamDesc{ClientStreams: true, ServerStreams: true}, "/miglink.v1.CommandLink/Attach")
	require.NoError(t, err)
	require.NoError(t, stream.SendMsg(&pb.AgentFrame{N: 1, Frame: &pb.AgentFrame_Hello{Hello: &pb.Hello{Version: 1, VmId: "vm-1"}}}))
	f := &pb.ControllerFrame{}
	require.NoError(t, stream.RecvMsg(f))
	require.Equal(t, "unauthorized", f.GetClose().GetCode())
	require.NotContains(t, f.GetClose().GetMessage(), "db-7")
	require.Equal(t, codes.Unauthenticated, status.Code(stream.RecvMsg(f)))

	url := "http://" + w.addr
	_, err = dial(t, url, grpc.Options{})
	require.ErrorIs(t, err, transport.ErrUnauthorized)
	l, err := dial(t, url, grpc.Options{Token: func(context.Context) (string, error) { return "of vm-1", nil }})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// grpcurl and its like can look at the service.
func TestReflection(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{})
	conn, err := googlegrpc.NewClient(w.addr, googlegrpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	defer conn.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream, err := reflection.NewServerReflectionClient(conn).ServerReflectionInfo(ctx)
	require.NoError(t, err)
	require.NoError(t, stream.Send(&reflection.ServerReflectionRequest{MessageRequest: &reflection.ServerReflectionRequest_ListServices{}}))
	answer, err := stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "miglink.v1.CommandLink", answer.GetListServicesResponse().GetService()[0].GetName())
	require.NoError(t, stream.Send(&reflection.ServerReflectionRequest{
		MessageRequest: &reflection.ServerReflectionRequest_FileContainingSymbol{FileContainingSymbol: "miglink.v1.CommandLink"},
	}))
	answer, err = stream.Recv()
	require.NoError(t, err)
	require.NotEmpty(t, answer.GetFileDescriptorResponse().GetFileDescriptorProto())
}

func TestTLS(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	mux := http.NewServeMux()
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	defer c.Close()
	config := s.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	config.NextProtos = nil
	l, err := dial(t, s.URL, grpc.Options{TLS: config})
	require.NoError(t, err)
	require.NoError(t, l.Report(t.Context()))
	require.NoError(t, l.Close())

	_, err = dial(t, s.URL, grpc.Options{})
	require.ErrorAs(t, err, new(*tls.CertificateVerificationError))
}

// A write deadline ends a stream on which nobody writes, too: none is left behind.
func TestIdle(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := controller.New(memory.New(), controller.Options{})
		defer c.Close()
		mux := http.NewServeMux()
		mux.Handle(grpc.Handler(c, grpc.HandlerOptions{Keepalive: 10 * time.Minute}))
		client, stop := memnet.ServeHTTP2(web.NewServer(t.Context(), mux, web.ServerOptions{}))
		defer stop()
		s := miglinkv1connect.NewCommandLinkClient(client, "http://localhost", connect.WithGRPC()).Attach(t.Context())
		require.NoError(t, s.Send(&pb.AgentFrame{N: 1, Frame: &pb.AgentFrame_Hello{Hello: &pb.Hello{Version: 1, VmId: "vm-1", Instance: "i-1"}}}))
		welcome, err := s.Receive()
		require.NoError(t, err)
		require.NotNil(t, welcome.GetWelcome())
		time.Sleep(time.Minute)
		r := brokertest.Send(t, c, command.Drain{})
		commands, err := s.Receive()
		require.NoError(t, err)
		require.Equal(t, r.ID(), commands.GetCommands().GetDeliveries()[0].GetCommand().GetId())
		require.NoError(t, s.CloseRequest())
		_, err = s.Receive()
		require.Error(t, err)
		require.NoError(t, s.CloseResponse())
	})
}

// TLS 1.2 is spoken by who has said so.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	c := controller.New(memory.New(), controller.Options{})
	mux := http.NewServeMux()
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{}))
	ca := certtest.NewAuthority(t)
	s := httptest.NewUnstartedServer(mux)
	s.EnableHTTP2 = true
	s.TLS = certtest.Old(t, ca)
	s.StartTLS()
	defer s.Close()
	defer c.Close()
	_, err := dial(t, s.URL, grpc.Options{TLS: &tls.Config{RootCAs: ca.Pool()}})
	require.ErrorContains(t, err, "protocol version")
	l, err := dial(t, s.URL, grpc.Options{TLS: &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

func TestDialErrors(t *testing.T) {
	t.Parallel()
	answer := func(h http.HandlerFunc) string {
		protocols := new(http.Protocols)
		protocols.SetHTTP1(true)
		protocols.SetUnencryptedHTTP2(true)
		s := httptest.NewUnstartedServer(h)
		s.Config.Protocols = protocols
		s.Start()
		t.Cleanup(s.Close)
		return s.URL
	}
	old := httptest.NewServer(http.NotFoundHandler()) // speaks HTTP/1.1 only
	defer old.Close()
	for _, test := range []struct {
		name, url string
		is        error
		says      string
	}{
		{"nobody there", "http://127.0.0.1:1", nil, "refused"},
		{"no gRPC", answer(http.NotFound), nil, "answered 404"},
		{"a login page", answer(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") }), nil, "Content-Type text/html"},
		{"overloaded", answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }), nil, "answered 503"},
		{"no credentials", answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) }), nil, "answered 401"},
		{"no HTTP/2", old.URL, nil, "nothing in HTTP/2 came from the controller's address, and gRPC needs it all the way: serve it by web.NewServer"},
	} {
		_, err := dial(t, test.url, grpc.Options{})
		require.ErrorContains(t, err, test.says, test.name)
		if test.is != nil {
			require.ErrorIs(t, err, test.is, test.name)
		}
		require.False(t, transport.Terminal(err), test.name)
		require.NotContains(t, err.Error(), "\n", test.name)
	}
	_, err := grpc.New("controller:8080", grpc.Options{})
	require.ErrorContains(t, err, "neither http:// nor https://")
}

// A status that a proxy makes is not the controller's, and what the controller answers by itself is.
func TestWhoseStatus(t *testing.T) {
	t.Parallel()
	serve := func(h http.Handler) string {
		s := web.NewServer(context.Background(), h, web.ServerOptions{})
		l := httptest.NewUnstartedServer(h)
		l.Config = s
		l.Start()
		t.Cleanup(l.Close)
		return l.URL
	}
	status := func(code string, more http.Header) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			h := w.Header()
			h.Set("Content-Type", "application/grpc")
			h.Set("Grpc-Status", code)
			h.Set("Grpc-Message", "upstream%20is%20away")
			maps.Copy(h, more)
		})
	}
	_, err := dial(t, serve(status("14", nil)), grpc.Options{})
	require.ErrorAs(t, err, new(*transport.ForeignError))
	require.ErrorContains(t, err, "UNAVAILABLE: upstream is away")
	_, err = dial(t, serve(status("7", nil)), grpc.Options{})
	require.ErrorAs(t, err, new(*transport.ForeignError))
	_, err = dial(t, serve(status("7", http.Header{"Miglink-Error": {"revoked"}})), grpc.Options{})
	require.ErrorIs(t, err, transport.ErrRevoked)

	// The guard of a handler refuses a host that is not allowed.
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	_, h := grpc.Handler(c, grpc.HandlerOptions{})
	_, err = dial(t, serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.Host = "elsewhere.example"
		h.ServeHTTP(w, r)
	})), grpc.Options{})
	require.ErrorIs(t, err, transport.ErrForbidden)
	// And a controller without gRPC says so itself.
	_, err = dial(t, serve(web.Handler(c, web.Options{})), grpc.Options{})
	require.ErrorIs(t, err, transport.ErrInvalid)
	require.ErrorContains(t, err, "no such endpoint")
}

// A server that accepts and says nothing does not hold a dial longer than its context allows.
func TestDialIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr, err := grpc.New("http://"+l.Addr().String(), grpc.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = tr.Dial(ctx, hello)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

// Scenario 78: a GOAWAY, as proxies send that age connections, costs a redial and nothing else.
func TestGoAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{})
	p, err := fault.NewProxy(w.addr, 1)
	require.NoError(t, err)
	defer p.Close()
	tr, err := grpc.New("http://"+p.Addr(), grpc.Options{})
	require.NoError(t, err)
	a, err := agent.New(tr, agent.Options{VM: "vm-1", BackoffInitial: time.Millisecond})
	require.NoError(t, err)
	ran := map[string]int{}
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
		ran[job.Command().ID]++
		return nil, nil
	}, agent.Policy{})
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- a.Run(ctx) }()
	for range 5 {
		r := w.send()
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
		goAway(t, w)
		w.send()
		p.Cut() // what a proxy does when the streams of an aged connection have had their time
	}
	_, err = w.send().Wait(t.Context())
	require.NoError(t, err)
	stop()
	require.NoError(t, <-ended)
	for id, n := range ran {
		require.Equal(t, 1, n, id)
	}
	require.Len(t, ran, 11)
}

// goAway has the server tell every connection that it takes no more streams.
func goAway(t *testing.T, w *world) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_ = w.server.Shutdown(ctx) // the streams outlive it
	l, err := net.Listen("tcp", w.addr)
	require.NoError(t, err)
	next := web.NewServer(context.Background(), w.server.Handler, web.ServerOptions{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		next.Serve(l)
	}()
	t.Cleanup(func() {
		next.Close()
		<-served
	})
	w.server = next
}

// A client that does not read holds up its own stream and nothing else, and its link ends.
func TestClientThatDoesNotRead(t *testing.T) {
	t.Parallel()
	w := newWorld(t, grpc.HandlerOptions{Keepalive: 100 * time.Millisecond})
	p, err := fault.NewProxy(w.addr, 1)
	require.NoError(t, err)
	defer p.Close()
	l, err := dial(t, "http://"+p.Addr(), grpc.Options{})
	require.NoError(t, err)
	defer l.Close()
	p.BlackHole(true)
	big, err := command.New(command.UpdateConfig{ConfigKey: "k", ConfigValue: strings.Repeat("x", 200_000)}, command.Options{})
	require.NoError(t, err)
	for range 40 {
		big.ID += "x"
		_, err := w.c.Send(t.Context(), "vm-1", big)
		require.NoError(t, err)
	}
	for {
		if presence, _ := w.c.Presence("vm-1"); !presence.Attached {
			break
		}
		time.Sleep(time.Millisecond)
	}
	_, err = l.Receive(t.Context())
	for err == nil {
		_, err = l.Receive(t.Context())
	}
}
