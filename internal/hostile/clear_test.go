package hostile

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/gcppubsub"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/nats"
	"github.com/miglink/miglink/transport/rabbitmq"
	"github.com/miglink/miglink/transport/redis"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/uplink"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// tap is somebody in between, who keeps all that passes upwards.
type tap struct {
	addr string
	mu   sync.Mutex
	b    bytes.Buffer
}

// newTap listens on an address of this machine, and passes on to another.
func newTap(t *testing.T, ip, to string) *tap {
	t.Helper()
	l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
	require.NoError(t, err)
	w := &tap{addr: l.Addr().String()}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			pass := func(dst io.WriteCloser, src io.Reader) {
				_, _ = io.Copy(dst, src)
				in.Close()
				out.Close()
			}
			ended := context.AfterFunc(t.Context(), func() { // it ends just before the cleanup
				in.Close()
				out.Close()
			})
			passing.Go(func() {
				defer ended()
				pass(out, io.TeeReader(in, w))
			})
			passing.Go(func() { pass(in, out) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		passing.Wait()
	})
	return w
}

func (w *tap) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *tap) has(s string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return bytes.Contains(w.b.Bytes(), []byte(s))
}

// anotherAddress is an address of this machine that is not of the loopback, and so goes for one of another.
func anotherAddress(t *testing.T) string {
	t.Helper()
	all, err := net.InterfaceAddrs()
	require.NoError(t, err)
	for _, a := range all {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	needs.Machine(t, errors.ErrUnsupported, "this machine has no address but the loopback's")
	return ""
}

// secretToken is what nobody in between is to read; it is the name of its VM, too.
const secretToken = "vm-t0ken-s3cret"

// ways are what each transport is reached by, with a server behind it.
func ways(t *testing.T) map[string]struct {
	open   func(transport.Config) (transport.Transport, error)
	scheme string // that speaks no TLS
	remedy string
	server string // host:port
	user   string // of the URL
} {
	type way = struct {
		open   func(transport.Config) (transport.Transport, error)
		scheme string
		remedy string
		server string
		user   string
	}
	t.Helper()
	c := controller.New(memory.New(), controller.Options{})
	t.Cleanup(func() { c.Close() })
	only := transport.AuthenticatorFunc(func(_ context.Context, vm string, c transport.Credentials) (transport.Grant, error) {
		if c.Token != vm {
			return transport.Grant{}, transport.ErrUnauthorized
		}
		return transport.Grant{}, nil
	})
	mux := http.NewServeMux()
	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{Authenticator: only})))
	mux.Handle(grpc.Handler(c, grpc.HandlerOptions{Authenticator: only}))
	addr := serve(t, mux)
	natsURL := natsServer(t)
	l, err := nats.Listen(t.Context(), natsURL, c, nats.ListenOptions{Authenticator: only})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	server := miniredis.RunT(t)
	r, err := redis.Listen(t.Context(), "redis://"+server.Addr(), c, redis.ListenOptions{Authenticator: only})
	require.NoError(t, err)
	t.Cleanup(func() { r.Close() })
	all := map[string]way{
		"ws":       {ws.Open, "http", "use https://", addr, ""},
		"sse":      {sse.Open, "http", "use https://", addr, ""},
		"longpoll": {longpoll.Open, "http", "use https://", addr, ""},
		"grpc":     {grpc.Open, "http", "use https://", addr, ""},
		"uplink":   {uplink.Open, "http", "use https://", addr, ""},
		"nats":     {nats.Open, "nats", "use tls://", strings.TrimPrefix(natsURL, "nats://"), ""},
		"redis":    {redis.Open, "redis", "use rediss://", server.Addr(), ""},
	}
	url := os.Getenv("MIGLINK_TEST_AMQP")
	if url == "" {
		url = "amqp://guest:guest@127.0.0.1:5672"
	}
	if u, err := amqp.ParseURI(url); err == nil {
		prefix := "miglink-" + uuid.NewString()
		l, err := rabbitmq.Listen(t.Context(), url, c, rabbitmq.ListenOptions{Prefix: prefix, Authenticator: only})
		if err != nil {
			t.Run("rabbitmq", func(t *testing.T) {
				needs.Machine(t, err, "no RabbitMQ broker where MIGLINK_TEST_AMQP says, or on 127.0.0.1:5672")
			})
			return all
		}
		t.Cleanup(func() {
			l.Close()
			conn, err := amqp.Dial(url)
			require.NoError(t, err)
			defer conn.Close()
			ch, err := conn.Channel()
			require.NoError(t, err)
			require.NoError(t, ch.ExchangeDelete(prefix, false, false))
		})
		all["rabbitmq"] = way{func(c transport.Config) (transport.Transport, error) {
			c.Prefix = prefix
			return rabbitmq.Open(c)
		}, "amqp", "use amqps://", net.JoinHostPort(u.Host, "5672"), u.Username + ":" + u.Password + "@"}
	}
	return all
}

// A token goes to another machine in the clear when somebody has said so, and else not a byte of it. To this machine it
// goes all the same.
func TestTokensAreNotSaidInTheClear(t *testing.T) {
	ip := anotherAddress(t)
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			at := func(addr string) transport.Config {
				url := way.scheme + "://" + way.user + addr
				return transport.Config{URL: url, Broker: url, Token: token(secretToken)}
			}
			dial := func(c transport.Config) error {
				tr, err := way.open(c)
				if err != nil {
					return err
				}
				l, err := tr.Dial(t.Context(), transport.Hello{VM: secretToken, Instance: "i", Uplink: name == "uplink"})
				if err == nil {
					require.NoError(t, l.Close())
				}
				return err
			}
			far, near := newTap(t, ip, way.server), newTap(t, "127.0.0.1", way.server)
			err := dial(at(far.addr))
			require.ErrorContains(t, err, "to "+ip+" in the clear")
			require.ErrorContains(t, err, way.remedy)
			require.ErrorContains(t, err, "--insecure")
			require.False(t, far.has(secretToken))
			require.NoError(t, dial(at(near.addr)))
			require.True(t, near.has(secretToken), "the tap hears it")
			_, port, err := net.SplitHostPort(near.addr)
			require.NoError(t, err)
			require.NoError(t, dial(at("localhost:"+port)))

			known := at(far.addr)
			known.Insecure = true
			if name != "rabbitmq" { // whose guest is let in from this machine only
				require.NoError(t, dial(known))
				require.True(t, far.has(secretToken))
			}
			without := at(far.addr)
			without.Token = nil
			_, err = way.open(without)
			require.NoError(t, err, "there is no token to be read")
		})
	}
}

// Who gives a configuration of TLS has it used, or hears that it is not: nothing goes in the clear.
func TestTLSIsUsedOrRefused(t *testing.T) {
	for name, way := range ways(t) {
		t.Run(name, func(t *testing.T) {
			heard := newTap(t, "127.0.0.1", way.server)
			url := way.scheme + "://" + way.user + heard.addr
			tr, err := way.open(transport.Config{URL: url, Broker: url, Token: token(secretToken), Insecure: true, TLS: &tls.Config{}})
			if name == "nats" { // whose scheme is one for both: TLS is insisted on
				require.NoError(t, err)
				_, err = tr.Dial(t.Context(), transport.Hello{VM: secretToken, Instance: "i"})
				require.ErrorContains(t, err, "secure connection not available")
			} else {
				require.ErrorContains(t, err, "speaks no TLS")
				require.ErrorContains(t, err, way.remedy)
			}
			require.False(t, heard.has(secretToken))
			require.False(t, heard.has("miglink"), "nothing is said")
		})
	}
	c := controller.New(memory.New(), controller.Options{})
	defer c.Close()
	config := &tls.Config{}
	for name, listen := range map[string]func() (io.Closer, error){
		"nats": func() (io.Closer, error) {
			return nats.Listen(t.Context(), natsServer(t), c, nats.ListenOptions{TLS: config})
		},
		"redis": func() (io.Closer, error) {
			return redis.Listen(t.Context(), "redis://"+miniredis.RunT(t).Addr(), c, redis.ListenOptions{TLS: config})
		},
		"rabbitmq": func() (io.Closer, error) {
			return rabbitmq.Listen(t.Context(), "amqp://127.0.0.1:1", c, rabbitmq.ListenOptions{TLS: config})
		},
		"rabbitmq, by its URL": func() (io.Closer, error) {
			return rabbitmq.Listen(t.Context(), "amqp://127.0.0.1:1?cacertfile=ca.pem", c, rabbitmq.ListenOptions{})
		},
	} {
		l, err := listen()
		if err == nil {
			l.Close()
		}
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "refused", name)
	}
	_, err := admin.NewClient("http://127.0.0.1:1/admin/v1", transport.Config{TLS: config})
	require.ErrorContains(t, err, "use https://")
	_, err = admin.NewClient("http://controller.example.com/admin/v1", transport.Config{Token: token(secretToken)})
	require.ErrorContains(t, err, "controller.example.com in the clear")
	_, err = admin.NewClient("http://controller.example.com/admin/v1", transport.Config{Token: token(secretToken), Insecure: true})
	require.NoError(t, err)
}

// Of several ways each uses the TLS that is given, or has its own; one that would go in the clear is refused, also in auto.
func TestTLSOfSeveralWays(t *testing.T) {
	all := transport.Registry{
		{Name: "ws", Open: ws.Open},
		{Name: "sse", Open: sse.Open},
		{Name: "nats", Open: nats.Open},
		{Name: "redis", Open: redis.Open},
		{Name: "gcppubsub", Open: gcppubsub.Open},
	}
	config := &tls.Config{}
	for _, test := range []struct{ spec, url, broker, wrong string }{
		{"auto", "https://h", "", ""},
		{"auto", "https://h", "gcppubsub://p", ""},
		{"ws,gcppubsub", "https://h", "gcppubsub://p", ""},
		{"gcppubsub", "https://h", "gcppubsub://p", "speaks TLS by itself"},
		{"gcppubsub,gcppubsub", "", "gcppubsub://p", "speaks TLS by itself"},
		{"auto", "http://127.0.0.1:8080", "rediss://h", "http://127.0.0.1 speaks no TLS"},
		{"auto", "https://h", "redis://127.0.0.1", "redis://127.0.0.1 speaks no TLS"},
		{"auto", "https://h", "nats://h", ""},
		{"ws,redis", "https://h", "redis://h", "use rediss://"},
		{"sse+ws", "http://h", "", "use https://"},
		{"redis", "", "unix:///run/redis.sock", "speaks no TLS"},
	} {
		_, err := all.Open(test.spec, transport.Config{URL: test.url, Broker: test.broker, TLS: config, Token: token(secretToken)})
		if test.wrong == "" {
			require.NoError(t, err, "%+v", test)
		} else {
			require.ErrorContains(t, err, test.wrong, "%+v", test)
		}
	}
	_, err := all.Open("auto", transport.Config{URL: "https://h", Broker: "redis://h", Token: token(secretToken)})
	require.ErrorContains(t, err, "to h in the clear")
	t.Setenv("PUBSUB_EMULATOR_HOST", "emulator.example.com:8085")
	_, err = all.Open("gcppubsub", transport.Config{Broker: "gcppubsub://p", Token: token(secretToken)})
	require.ErrorContains(t, err, "emulator.example.com in the clear")
}
