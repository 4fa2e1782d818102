package brokertest

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/web"
	"github.com/miglink/miglink/transport/ws"
)

// Keepalive is short enough for the takeover of Share.
const Keepalive = time.Second

// Share has two servers take agents from the broker at addr at the same time, each a relay to one controller.
// The first is then cut off from the broker, without a word, and the second takes all it had. listen serves
// an address of the broker with Keepalive, dial is the way of the agents.
func Share(t testing.TB, addr string, listen func(addr string, to transport.Transport) (io.Closer, error), dial transport.Transport) {
	t.Helper()
	c := Controller(t)
	server := httptest.NewServer(http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
	t.Cleanup(server.Close)
	relay := func(addr string) {
		hop, err := ws.New(server.URL, ws.Options{})
		require.NoError(t, err)
		l, err := listen(addr, hop)
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
	}
	way, err := fault.NewProxy(addr, 1)
	require.NoError(t, err)
	t.Cleanup(func() { way.Close() })
	relay(way.Addr())

	const each = 4
	agents := map[string]*Agent{}
	drain := func(times int) {
		for range times {
			var rs []*controller.Receipt
			for vm := range agents {
				rs = append(rs, SendTo(t, c, vm, command.Drain{}))
			}
			Succeed(t, rs...)
		}
	}
	for i := range each {
		vm := fmt.Sprintf("vm-a%d", i)
		agents[vm] = RunVM(t, vm, dial)
	}
	drain(1) // they are all at the first
	relay(addr)
	for i := range each {
		vm := fmt.Sprintf("vm-b%d", i)
		agents[vm] = RunVM(t, vm, dial)
	}
	drain(2)
	require.NoError(t, way.Close())
	drain(2)
	for vm, a := range agents {
		n := 4
		if vm < "vm-b" {
			n++
		}
		a.Stop(n)
	}
}
