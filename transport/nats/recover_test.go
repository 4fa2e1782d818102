package nats_test

import (
	"context"
	"net"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/nats"
)

// counting counts the connections that a library makes.
type counting struct{ n *atomic.Int64 }

func (c counting) Dial(network, address string) (net.Conn, error) {
	c.n.Add(1)
	return (&net.Dialer{}).DialContext(context.Background(), network, address)
}

// withPassword are options of a server that one user may use.
func withPassword(port int, password string, may *server.Permissions) *server.Options {
	return &server.Options{
		Host: "127.0.0.1", Port: port, NoLog: true, NoSigs: true,
		Users: []*server.User{{Username: "u", Password: password, Permissions: may}},
	}
}

// Credentials that are refused for a while, or changed, cost that while: the library would give up after two refusals.
func TestCredentialsRefusedAndRotated(t *testing.T) {
	t.Parallel()
	s := broker(t, *withPassword(0, "first", nil))
	port := s.Addr().(*net.TCPAddr).Port
	var password atomic.Value
	password.Store("first")
	current := natsgo.UserInfoHandler(func() (string, string) { return "u", password.Load().(string) })
	var tries atomic.Int64
	c := brokertest.Controller(t)
	url := s.ClientURL()
	l := listen(t, url, c, nats.ListenOptions{NATS: []natsgo.Option{current, natsgo.SetCustomDialer(counting{&tries})}})
	tr, err := nats.New(url, nats.Options{NATS: []natsgo.Option{current}})
	require.NoError(t, err)
	reload := func(password string, may *server.Permissions) func() {
		return func() { require.NoError(t, s.ReloadOptions(withPassword(port, password, may))) }
	}
	t.Run("refused and restored", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, reload("other", nil), reload("first", nil))
	})
	t.Run("rotated", func(t *testing.T) {
		brokertest.Recover(t, c, l, tr, &tries, reload("second", nil), func() { password.Store("second") })
	})
	t.Run("a permission taken away and given back", func(t *testing.T) {
		mute := &server.Permissions{Subscribe: &server.SubjectPermission{Deny: []string{"miglink.hello.*"}}}
		brokertest.Recover(t, c, l, tr, &tries, reload("second", mute), reload("second", nil))
	})
}

// A broker that is away at the start is waited for, where the caller wants that.
func TestBrokerAwayAtStart(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	port, url := s.Addr().(*net.TCPAddr).Port, s.ClientURL()
	s.Shutdown()
	s.WaitForShutdown()
	c := brokertest.Controller(t)
	l := listen(t, url, c, nats.ListenOptions{RetryOnFailedConnect: true})
	require.ErrorContains(t, l.Ready(), "connection refused")
	tr, err := nats.New(url, nats.Options{})
	require.NoError(t, err)
	a := brokertest.Run(t, tr)
	r := brokertest.Send(t, c, command.Drain{})
	broker(t, server.Options{Port: port})
	brokertest.AwaitReady(t, l)
	brokertest.Succeed(t, r)
	a.Stop(1)
	require.NoError(t, l.Close())
	require.Error(t, l.Ready())
}

// The library's own options for connecting again are not ours: a link ends with its connection, and a listener makes another.
func TestTheLibraryDoesNotConnectAgain(t *testing.T) {
	t.Parallel()
	tr, err := nats.New("nats://127.0.0.1:1", nats.Options{NATS: []natsgo.Option{natsgo.RetryOnFailedConnect(true)}})
	require.NoError(t, err)
	_, err = tr.Dial(t.Context(), hello)
	require.ErrorContains(t, err, "connection refused")
}

// A controller that knows one server of a cluster goes on at another when that one is gone.
func TestClusterWithOneName(t *testing.T) {
	t.Parallel()
	member := func(routes string) *server.Server {
		o := server.Options{Cluster: server.ClusterOpts{Name: "c", Host: "127.0.0.1", Port: -1}}
		if routes != "" {
			o.Routes = server.RoutesFromStr(routes)
		}
		return broker(t, o)
	}
	first := member("")
	second := member("nats://" + first.ClusterAddr().String())
	require.Eventually(t, func() bool { return first.NumRoutes() > 0 && second.NumRoutes() > 0 }, patience, tick)
	c := brokertest.Controller(t)
	l := listen(t, first.ClientURL(), c, nats.ListenOptions{})
	first.Shutdown()
	first.WaitForShutdown()
	tr, err := nats.New(second.ClientURL(), nats.Options{})
	require.NoError(t, err)
	a := brokertest.Run(t, tr)
	brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	a.Stop(1)
	require.NoError(t, l.Ready())
}

// A controller that starts says so, and agents of one that has died come to it, long before they would miss it.
func TestStartedIsHeard(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	tr, err := nats.New(s.ClientURL(), nats.Options{})
	require.NoError(t, err)
	brokertest.Started(t, s.Addr().String(), func(addr string, to transport.Transport) (brokertest.Listener, error) {
		return nats.Listen(t.Context(), "nats://"+addr, to, nats.ListenOptions{Keepalive: brokertest.Silent})
	}, tr)
}

// Who may neither hear nor say it links all the same.
func TestStartedMayBeForbidden(t *testing.T) {
	t.Parallel()
	no := &server.Permissions{Publish: &server.SubjectPermission{Deny: []string{"miglink.started"}}, Subscribe: &server.SubjectPermission{Deny: []string{"miglink.started"}}}
	s := broker(t, *withPassword(0, "x", no))
	url := "nats://u:x@" + s.Addr().String()
	c := brokertest.Controller(t)
	l := listen(t, url, c, nats.ListenOptions{})
	tr, err := nats.New(url, nats.Options{})
	require.NoError(t, err)
	a := brokertest.Run(t, tr)
	for range 3 {
		brokertest.Succeed(t, brokertest.Send(t, c, command.Drain{}))
	}
	p, _ := c.Presence(brokertest.VM)
	require.True(t, p.Attached)
	require.NoError(t, l.Ready())
	a.Stop(3)
}
