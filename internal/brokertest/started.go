package brokertest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
)

// Silent is a keepalive with which nobody is found out by silence.
const Silent = time.Hour

// Started has the controller die to which an agent is linked, and another start: the agent hears of that, where told, and
// comes. listen serves an address of the broker with the keepalive Silent, dial is the way of the agent.
func Started(t testing.TB, addr string, listen func(addr string, to transport.Transport) (Listener, error), dial transport.Transport) {
	t.Helper()
	way, err := fault.NewProxy(addr, 1)
	require.NoError(t, err)
	t.Cleanup(func() { way.Close() })
	first := Controller(t)
	dead, err := listen(way.Addr(), first)
	require.NoError(t, err)
	t.Cleanup(func() { dead.Close() })
	a := Run(t, dial)
	Succeed(t, Send(t, first, command.Drain{}))
	require.NoError(t, way.Close()) // for the broker it is as if it had been killed
	AwaitAway(t, dead)

	second := Controller(t)
	r := Send(t, second, command.Drain{})
	l, err := listen(addr, second)
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	Succeed(t, r)

	// One more: the link that it has now is to one that lives, and stays.
	third, err := listen(addr, Controller(t))
	require.NoError(t, err)
	t.Cleanup(func() { third.Close() })
	Succeed(t, Send(t, second, command.Drain{}))
	a.Stop(3)
}
