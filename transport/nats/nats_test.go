package nats_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/tlsfile"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 2 * time.Minute
	tick     = time.Millisecond
)

var hello = transport.Hello{VM: "vm-1", Instance: "i-1"}

// broker starts a NATS server; Port 0 is any.
func broker(t *testing.T, o server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(&o)
	require.NoError(t, err)
	s.Start()
	stop := func() {
		s.Shutdown()
		s.WaitForShutdown()
	}
	t.Cleanup(stop)
	require.True(t, s.ReadyForConnections(20*time.Second))
	return s
}

func newController(t *testing.T) *controller.Controller {
	t.Helper()
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	return c
}

func listen(t *testing.T, url string, c transport.Transport, o nats.ListenOptions) *nats.Listener {
	t.Helper()
	l, err := nats.Listen(t.Context(), url, c, o)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	return l
}

func dial(t *testing.T, url string, o nats.Options) (transport.Link, error) {
	t.Helper()
	tr, err := nats.New(url, o)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	return tr.Dial(ctx, hello)
}

func send(t *testing.T, c *controller.Controller, p command.Params) *controller.Receipt {
	t.Helper()
	cmd, err := command.New(p, command.Options{})
	require.NoError(t, err)
	r, err := c.Send(t.Context(), "vm-1", cmd)
	require.NoError(t, err)
	return r
}

// What is wrong is said at once, and in a way that helps.
func TestDialErrors(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{Users: []*server.User{
		{Username: "good", Password: "s3cret"},
		{Username: "mute", Password: "s3cret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Deny: []string{"miglink.hello.>"}}, Subscribe: &server.SubjectPermission{Allow: []string{">"}},
		}},
		{Username: "deaf", Password: "s3cret", Permissions: &server.Permissions{
			Publish: &server.SubjectPermission{Allow: []string{">"}}, Subscribe: &server.SubjectPermission{Deny: []string{"miglink.down.>"}},
		}},
	}})
	as := func(user string) string { return "nats://" + user + ":s3cret@" + s.Addr().String() }
	for _, test := range []struct{ name, url, says string }{
		{"no broker", "nats://127.0.0.1:1", "connection refused"},
		{"no credentials", s.ClientURL(), "Authorization Violation"},
		{"bad credentials", as("nobody"), "Authorization Violation"},
		{"no controller", as("good"), "no controller listens"},
		{"may not say hello", as("mute"), "Permissions Violation for Publish to \"miglink.hello.vm-1\""},
		{"may not listen", as("deaf"), "permissions violation"},
	} {
		_, err := dial(t, test.url, nats.Options{})
		require.ErrorContains(t, err, test.says, test.name)
		require.NotContains(t, err.Error(), "s3cret", test.name)
		require.Equal(t, 1, strings.Count(strings.ToLower(err.Error()), "nats: "), err.Error())
		require.False(t, transport.Terminal(err))
	}
	for _, url := range []string{"", "127.0.0.1:4222", "http://x", "nats://", "nats://u:s3cret@h\x7f"} {
		_, err := nats.New(url, nats.Options{})
		require.ErrorContains(t, err, "nats://host:4222", url)
	}
	for _, prefix := range []string{"a b", "a.*", ">", ".a", "a.", "a..b"} {
		_, err := nats.New(s.ClientURL(), nats.Options{Prefix: prefix})
		require.ErrorContains(t, err, "no prefix", prefix)
	}
	_, err := nats.Listen(t.Context(), "nats://127.0.0.1:1", newController(t), nats.ListenOptions{})
	require.ErrorContains(t, err, "connection refused")
	_, err = nats.Listen(t.Context(), s.ClientURL(), newController(t), nats.ListenOptions{})
	require.ErrorContains(t, err, "Authorization Violation")
}

// A broker that accepts and says nothing does not hold a dial longer than its context allows.
func TestDialIsBoundedByItsContext(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	tr, err := nats.New("nats://"+l.Addr().String(), nats.Options{})
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = tr.Dial(ctx, hello)
	require.Error(t, err)
}

// Any name of a VM is one token of a subject, and no other VM's.
func TestNames(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	c := newController(t)
	listen(t, s.ClientURL(), c, nats.ListenOptions{Prefix: "some.where"})
	tr, err := nats.New(s.ClientURL(), nats.Options{Prefix: "some.where"})
	require.NoError(t, err)
	for _, vm := range []string{"vm-1", "pool/vm 1", "a.b", ">", "=2E", "ü", "A_b-9"} {
		l, err := tr.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i"})
		require.NoError(t, err, vm)
		p, ok := c.Presence(vm)
		require.True(t, ok && p.Attached, vm)
		require.Equal(t, "nats", p.Transport)
		require.NoError(t, l.Close())
	}
}

// A hello is for the VM of its subject: whoever may publish there is that VM, and no other.
func TestHelloForAnother(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	c := newController(t)
	listen(t, s.ClientURL(), c, nats.ListenOptions{})
	conn, err := natsgo.Connect(s.ClientURL())
	require.NoError(t, err)
	defer conn.Close()
	down, err := conn.SubscribeSync("miglink.down.>")
	require.NoError(t, err)
	say := func(subject, reply, frame string) {
		require.NoError(t, conn.PublishRequest(subject, reply, []byte(frame)))
	}
	say("miglink.hello.vm-1", "miglink.down.vm-1.s", `{"n":1,"hello":{"version":1,"vm_id":"vm-2"}}`)
	m, err := down.NextMsg(20 * time.Second)
	require.NoError(t, err)
	require.Contains(t, string(m.Data), `"code":"forbidden"`)
	for _, bad := range [][2]string{ // they are not answered
		{"miglink.hello.vm-1", "miglink.down.vm-2.s"},
		{"miglink.hello.vm-1", "elsewhere"},
		{"miglink.hello.vm-1", "miglink.down.vm-1.a.b"},
		{"miglink.hello.=zz", "miglink.down.=zz.s"},
		{"miglink.hello.=41", "miglink.down.=41.s"}, // "A" is written as it is
	} {
		say(bad[0], bad[1], `{"n":1,"hello":{"version":1}}`)
	}
	say("miglink.hello.vm-3", "miglink.down.vm-3.s", `{"n":1,"hello":{"version":1}}`)
	for {
		m, err = down.NextMsg(20 * time.Second)
		require.NoError(t, err)
		if strings.Contains(string(m.Data), "welcome") {
			break
		}
	}
	require.Equal(t, "miglink.down.vm-3.s", m.Subject, "the hellos before it were not answered")
	for _, vm := range []string{"vm-1", "vm-2"} {
		_, known := c.Presence(vm)
		require.False(t, known, vm)
	}
}

func TestAuthenticate(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	var says error
	listen(t, s.ClientURL(), newController(t), nats.ListenOptions{Authenticator: transport.AuthenticatorFunc(func(_ context.Context, vm string, _ transport.Credentials) (transport.Grant, error) {
		if vm != "vm-1" {
			return transport.Grant{}, errors.New("another VM")
		}
		return transport.Grant{}, says
	})})
	says = errors.New("the key server db-7 is down")
	_, err := dial(t, s.ClientURL(), nats.Options{})
	require.ErrorIs(t, err, transport.ErrUnauthorized)
	require.NotContains(t, err.Error(), "db-7")
	says = transport.ErrRevoked
	_, err = dial(t, s.ClientURL(), nats.Options{})
	require.ErrorIs(t, err, transport.ErrRevoked)
	says = nil
	l, err := dial(t, s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// What the broker's largest payload does not hold goes in several messages.
func TestLargeFrames(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{MaxPayload: 4096})
	c := newController(t)
	listen(t, s.ClientURL(), c, nats.ListenOptions{})
	l, err := dial(t, s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	defer l.Close()
	value := strings.Repeat("x", 200_000)
	r := send(t, c, command.UpdateConfig{ConfigKey: "k", ConfigValue: value})
	page, err := l.Receive(t.Context())
	require.NoError(t, err)
	p, err := command.Decode[command.UpdateConfig](page[0].Command)
	require.NoError(t, err)
	require.Equal(t, value, p.ConfigValue)
	result := `"` + strings.Repeat("y", 60_000) + `"`
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded, Result: []byte(result)}))
	e, err := r.Wait(t.Context())
	require.NoError(t, err)
	require.Equal(t, result, string(e.Result))
}

// tally runs an agent that counts what it handles.
type tally struct {
	mu  sync.Mutex
	ran map[string]int
}

func run(t *testing.T, url string, options ...natsgo.Option) (*tally, func()) {
	t.Helper()
	tr, err := nats.New(url, nats.Options{NATS: options})
	require.NoError(t, err)
	a, err := agent.New(tr, agent.Options{VM: "vm-1", BackoffInitial: 5 * time.Millisecond, BackoffMax: 50 * time.Millisecond})
	require.NoError(t, err)
	counted := &tally{ran: map[string]int{}}
	agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
		counted.mu.Lock()
		defer counted.mu.Unlock()
		counted.ran[job.Command().ID]++
		return nil, nil
	}, agent.Policy{})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	return counted, func() {
		cancel()
		require.NoError(t, <-ended)
	}
}

func (c *tally) check(t *testing.T, n int) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.ran, n)
	for id, times := range c.ran {
		require.Equal(t, 1, times, id)
	}
}

// Scenario 79: the broker dies in the middle, and comes back; nothing is lost or run twice.
func TestBrokerRestart(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	port := s.Addr().(*net.TCPAddr).Port
	url := fmt.Sprintf("nats://127.0.0.1:%d", port)
	c := newController(t)
	listen(t, url, c, nats.ListenOptions{NATS: []natsgo.Option{natsgo.ReconnectWait(5 * time.Millisecond), natsgo.ReconnectJitter(0, 0)}})
	counted, stop := run(t, url)
	var rs []*controller.Receipt
	for range 3 {
		for range 20 {
			rs = append(rs, send(t, c, command.Drain{}))
		}
		s.Shutdown()
		s.WaitForShutdown()
		rs = append(rs, send(t, c, command.Drain{}))
		s = broker(t, server.Options{Port: port})
	}
	for _, r := range rs {
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
	}
	stop()
	counted.check(t, len(rs))
}

// The same with a server that is a process of its own, and is killed.
func TestServerKilled(t *testing.T) {
	t.Parallel()
	needs.Program(t, "nats-server")
	addr := brokertest.FreeAddr(t)
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	s := brokertest.Start(t, addr, func() *exec.Cmd {
		return exec.CommandContext(t.Context(), "nats-server", "-a", "127.0.0.1", "-p", port)
	})
	c := brokertest.Controller(t)
	listen(t, "nats://"+addr, c, nats.ListenOptions{NATS: []natsgo.Option{natsgo.ReconnectWait(5 * time.Millisecond), natsgo.ReconnectJitter(0, 0)}})
	tr, err := nats.New("nats://"+addr, nats.Options{})
	require.NoError(t, err)
	brokertest.Survive(t, c, tr, 3, func() {
		s.Kill()
		s.Start()
	})
}

// Of the two connections to the broker only the controller's is lost: the agent is told when it is back.
func TestControllerCutOff(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	proxy, err := fault.NewProxy(s.Addr().String(), 1)
	require.NoError(t, err)
	defer proxy.Close()
	c := brokertest.Controller(t)
	listen(t, "nats://"+proxy.Addr(), c, nats.ListenOptions{
		Keepalive: time.Hour, // or the agent would notice by itself
		NATS:      []natsgo.Option{natsgo.ReconnectWait(5 * time.Millisecond), natsgo.ReconnectJitter(0, 0)},
	})
	tr, err := nats.New(s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	proxy.Reset()
	_, err = l.Receive(t.Context())
	require.ErrorContains(t, err, "gone")
	require.NoError(t, l.Close())
}

// Scenario 80: a broker that cuts off a slow consumer, and drops what it has for it, costs a redial and
// nothing else.
func TestSlowConsumer(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{MaxPayload: 64 << 10, MaxPending: 256 << 10, WriteDeadline: 50 * time.Millisecond})
	c := controller.New(memory.New(), controller.Options{Window: 10_000, Limits: ledger.Limits{Commands: 10_000, Bytes: 1 << 30}})
	defer c.Close()
	listen(t, s.ClientURL(), c, nats.ListenOptions{})
	slow := &slowDialer{released: make(chan struct{})}
	counted, stop := run(t, s.ClientURL(), natsgo.SetCustomDialer(slow))
	_, err := send(t, c, command.Drain{}).Wait(t.Context())
	require.NoError(t, err)

	slow.stall()
	var rs []*controller.Receipt
	for s.NumSlowConsumers() == 0 { // the network between holds some megabytes
		rs = append(rs, send(t, c, command.Drain{Reason: strings.Repeat("x", 200_000)}))
		time.Sleep(time.Millisecond)
	}
	close(slow.released)
	for _, r := range rs {
		e, err := r.Wait(t.Context())
		require.NoError(t, err)
		require.Equal(t, ack.Succeeded, e.State.Stage)
	}
	stop()
	counted.check(t, len(rs)+1)
}

// slowDialer makes connections whose client can be held up.
type slowDialer struct {
	mu       sync.Mutex
	stalled  bool
	released chan struct{}
}

func (d *slowDialer) stall() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.stalled = true
}

func (d *slowDialer) Dial(network, address string) (net.Conn, error) {
	c, err := net.Dial(network, address)
	if err != nil {
		return nil, err
	}
	_ = c.(*net.TCPConn).SetReadBuffer(256 << 10) // what waits is to wait at the broker
	return &slowConn{c, d}, nil
}

type slowConn struct {
	net.Conn
	d *slowDialer
}

func (c *slowConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.d.mu.Lock()
	stalled := c.d.stalled
	c.d.mu.Unlock()
	if stalled {
		<-c.d.released
	}
	return n, err
}

// A Config's TLS has TLS spoken, and nothing else; without one it is spoken where the broker wants it.
func TestTLS(t *testing.T) {
	t.Parallel()
	https := httptest.NewTLSServer(nil) // for its certificate
	defer https.Close()
	config := https.Client().Transport.(*http.Transport).TLSClientConfig
	for _, wants := range []*tls.Config{nil, {Certificates: https.TLS.Certificates}} {
		s := broker(t, server.Options{TLSConfig: wants, TLS: wants != nil, TLSTimeout: 5})
		url := "nats://" + s.Addr().String()
		tr, err := nats.Open(transport.Config{Broker: url, TLS: config})
		require.NoError(t, err)
		if wants == nil {
			_, err = nats.Listen(t.Context(), url, newController(t), nats.ListenOptions{TLS: config})
			require.ErrorContains(t, err, "secure connection not available")
			_, err = tr.Dial(t.Context(), hello)
			require.ErrorContains(t, err, "secure connection not available")
			listen(t, url, newController(t), nats.ListenOptions{})
		} else {
			listen(t, url, newController(t), nats.ListenOptions{TLS: config})
			l, err := tr.Dial(t.Context(), hello)
			require.NoError(t, err)
			require.NoError(t, l.Report(t.Context()))
			require.NoError(t, l.Close())
		}
		l, err := dial(t, url, nats.Options{})
		if err == nil {
			require.NoError(t, l.Close())
		}
		require.Equal(t, wants != nil, err != nil, "without the certificate's authority")
	}
}

// All that the broker, the controller and the agent have of certificates is replaced while they live. Their
// connections are cut, and the next are of the new ones; nothing is lost, and nothing runs twice.
func TestCertificatesReplaced(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	near, far := certtest.NewFiles(t), certtest.NewFiles(t)
	near.Write(ca.Client(t, "vm-1"), ca)
	far.Write(ca.Server(t, "127.0.0.1"), ca)
	brokers, err := tlsfile.Server(tlsfile.ServerFiles{Cert: far.Cert, Key: far.Key, ClientCA: far.CA, RequireClient: true})
	require.NoError(t, err)
	s := broker(t, server.Options{TLSConfig: brokers, TLS: true, TLSTimeout: 5})
	addr := s.Addr().String()
	way, err := fault.NewProxy(addr, 1)
	require.NoError(t, err)
	defer way.Close()
	url := "tls://" + way.Addr()
	clients, err := tlsfile.Client(tlsfile.ClientFiles{CA: near.CA, Cert: near.Cert, Key: near.Key, Addresses: []string{"127.0.0.1"}})
	require.NoError(t, err)
	c := newController(t)
	listen(t, url, c, nats.ListenOptions{TLS: clients, NATS: []natsgo.Option{natsgo.ReconnectWait(5 * time.Millisecond), natsgo.ReconnectJitter(0, 0)}})
	tr, err := nats.Open(transport.Config{Broker: url, TLS: clients})
	require.NoError(t, err)
	next := certtest.NewAuthority(t)
	brokertest.Survive(t, c, tr, 2, func() {
		near.Write(next.Client(t, "vm-1"), next)
		far.Write(next.Server(t, "127.0.0.1"), next)
		require.Eventually(t, func() bool {
			certificate, err := presented(addr)
			return err == nil && certificate.CheckSignatureFrom(next.Cert) == nil
		}, time.Minute, 10*time.Millisecond)
		way.Reset()
	})
}

// presented is the certificate of a NATS server, which speaks first and in the clear.
func presented(addr string) (*x509.Certificate, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	if _, err := bufio.NewReaderSize(conn, 16<<10).ReadString('\n'); err != nil {
		return nil, err
	}
	c := tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	if err := c.Handshake(); err != nil {
		return nil, err
	}
	return c.ConnectionState().PeerCertificates[0], nil
}

// TLS 1.2 is spoken by who has said so, here or by the library's own options.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	s := broker(t, server.Options{TLSConfig: certtest.Old(t, ca), TLS: true, TLSTimeout: 5})
	url := "tls://" + s.Addr().String()
	c := newController(t)
	ours, old := &tls.Config{RootCAs: ca.Pool()}, &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	library := []natsgo.Option{natsgo.Secure(old)}

	_, err := nats.Listen(t.Context(), url, c, nats.ListenOptions{TLS: ours})
	require.ErrorContains(t, err, "protocol version")
	_, err = dial(t, url, nats.Options{TLS: ours})
	require.ErrorContains(t, err, "protocol version")
	_, err = dial(t, url, nats.Options{})
	require.ErrorContains(t, err, "protocol version")
	for _, o := range []nats.ListenOptions{{TLS: old}, {NATS: library}} {
		l, err := nats.Listen(t.Context(), url, c, o)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	listen(t, url, c, nats.ListenOptions{TLS: old})
	for _, o := range []nats.Options{{TLS: old}, {NATS: library}} {
		l, err := dial(t, url, o)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
}

// Of several controllers on one broker each dial goes to one; what one has served another takes when it
// is gone.
func TestTakeover(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	shared := newController(t) // two processes would share its ledger
	first := listen(t, s.ClientURL(), shared, nats.ListenOptions{})
	counted, stop := run(t, s.ClientURL())
	_, err := send(t, shared, command.Drain{}).Wait(t.Context())
	require.NoError(t, err)
	listen(t, s.ClientURL(), shared, nats.ListenOptions{})
	require.NoError(t, first.Close())
	_, err = send(t, shared, command.Drain{}).Wait(t.Context())
	require.NoError(t, err)
	stop()
	counted.check(t, 2)
}

// Others may watch, if the broker lets them.
func TestWatching(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	c := newController(t)
	listen(t, s.ClientURL(), c, nats.ListenOptions{})
	conn, err := natsgo.Connect(s.ClientURL())
	require.NoError(t, err)
	defer conn.Close()
	watch, err := conn.SubscribeSync("miglink.*.vm-1.>")
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	l, err := dial(t, s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	r := send(t, c, command.Drain{})
	_, err = l.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, l.Ack(t.Context(), ack.Ack{CommandID: r.ID(), Stage: ack.Succeeded}))
	require.NoError(t, l.Close())
	var seen []string
	for len(seen) < 5 {
		m, err := watch.NextMsg(20 * time.Second)
		require.NoError(t, err)
		what := "gone"
		for _, kind := range []string{"welcome", "commands", "acks", "recorded"} {
			if strings.Contains(string(m.Data), `"`+kind+`"`) {
				what = kind
			}
		}
		seen = append(seen, strings.Split(m.Subject, ".")[1]+" "+what)
	}
	require.Equal(t, []string{"down welcome", "down commands", "up acks", "down recorded", "up gone"}, seen)
}

// Two relays serve one broker at the same time; what one has is taken by the other when it is cut off.
func TestShare(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	tr, err := nats.New(s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	brokertest.Share(t, s.Addr().String(), func(addr string, to transport.Transport) (io.Closer, error) {
		return nats.Listen(t.Context(), "nats://"+addr, to, nats.ListenOptions{Keepalive: brokertest.Keepalive})
	}, tr)
}
