package nats_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	natsgo "github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/nats"
)

// Nothing is subscribed to for hellos that are refused, at any moment; each is told why. A VM that means well is served
// beside them.
func TestNothingIsMadeForWhoIsRefused(t *testing.T) {
	t.Parallel()
	s := broker(t, server.Options{})
	var refused atomic.Int64
	var out brokertest.Record
	c := brokertest.Controller(t)
	listen(t, s.ClientURL(), c, nats.ListenOptions{
		NATS: []natsgo.Option{natsgo.SetCustomDialer(&out)},
		Authenticator: transport.AuthenticatorFunc(func(_ context.Context, _ string, c transport.Credentials) (transport.Grant, error) {
			if c.Token == "good" {
				return transport.Grant{}, nil
			}
			refused.Add(1)
			return transport.Grant{}, transport.ErrUnauthorized
		}),
	})
	conn, err := natsgo.Connect(s.ClientURL())
	require.NoError(t, err)
	defer conn.Close()
	down, err := conn.SubscribeSync("miglink.down.>")
	require.NoError(t, err)
	require.NoError(t, conn.Flush())
	before := s.NumSubscriptions()
	const each = 200
	for i := range each {
		for session, frame := range map[string]string{
			"a": `{"n":1,"hello":{"version":1,"instance":"i","token":"bad"}}`,
			"b": `{"n":1,"hello":{"version":1,"vm_id":"another","token":"good"}}`,
			"c": "no frame",
		} {
			require.NoError(t, conn.PublishRequest(fmt.Sprint("miglink.hello.vm-", i), fmt.Sprintf("miglink.down.vm-%d.%s", i, session), []byte(frame)))
		}
		part := natsgo.NewMsg(fmt.Sprint("miglink.hello.vm-", i)) // of a hello that would go on
		part.Reply, part.Data = fmt.Sprintf("miglink.down.vm-%d.d", i), []byte(`{"n":1,`)
		part.Header.Set("Miglink-More", "1")
		require.NoError(t, conn.PublishMsg(part))
	}
	codes := map[string]int{}
	for range 2 * 4 * each { // a word, and a goodbye
		m, err := down.NextMsg(time.Minute)
		require.NoError(t, err)
		for _, code := range []string{"unauthorized", "forbidden", "protocol"} {
			if strings.Contains(string(m.Data), code) {
				codes[code]++
			}
		}
	}
	require.Equal(t, map[string]int{"unauthorized": each, "forbidden": each, "protocol": 2 * each}, codes)
	require.EqualValues(t, each, refused.Load())
	require.Equal(t, before, s.NumSubscriptions())
	require.Zero(t, out.Count("SUB miglink.up."))

	tr, err := nats.New(s.ClientURL(), nats.Options{Token: func(context.Context) (string, error) { return "good", nil }})
	require.NoError(t, err)
	a := brokertest.RunVM(t, "good", tr)
	brokertest.Succeed(t, brokertest.SendTo(t, c, "good", command.Drain{}))
	require.Equal(t, 1, out.Count("SUB miglink.up."))
	a.Stop(1)
	fleet, err := c.Fleet(t.Context())
	require.NoError(t, err)
	require.Len(t, fleet, 1)
}

// The broker's tracing of messages is no way to put one under another VM's name: what a VM may not publish to is no
// destination of its traces.
func TestTracesGoNowhereElse(t *testing.T) {
	t.Parallel()
	s := documented(t)
	conn, err := natsgo.Connect("nats://vm-1:PASSWORD@"+s.Addr().String(),
		natsgo.ErrorHandler(func(*natsgo.Conn, *natsgo.Subscription, error) {})) // of what is refused
	require.NoError(t, err)
	defer conn.Close()
	watch, err := natsgo.Connect("nats://controller:PASSWORD@" + s.Addr().String())
	require.NoError(t, err)
	defer watch.Close()
	ups, err := watch.SubscribeSync("miglink.up.*.*")
	require.NoError(t, err)
	hellos, err := watch.QueueSubscribeSync("miglink.hello.*", "miglink")
	require.NoError(t, err)
	require.NoError(t, watch.Flush())
	for _, dest := range []string{"miglink.up.vm-2.s", "miglink.hello.vm-2"} {
		m := natsgo.NewMsg("miglink.up.vm-1.s")
		m.Data = []byte("x")
		m.Header.Set("Nats-Trace-Dest", dest)
		require.NoError(t, conn.PublishMsg(m))
	}
	require.NoError(t, conn.Publish("miglink.up.vm-1.end", []byte("x")))
	require.NoError(t, conn.Publish("miglink.hello.vm-1", []byte("x")))
	for {
		m, err := ups.NextMsg(time.Minute)
		require.NoError(t, err)
		require.Contains(t, m.Subject, "miglink.up.vm-1.")
		if m.Subject == "miglink.up.vm-1.end" {
			break
		}
	}
	m, err := hellos.NextMsg(time.Minute)
	require.NoError(t, err)
	require.Equal(t, "miglink.hello.vm-1", m.Subject)
}
