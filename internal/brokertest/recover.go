package brokertest

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/transport"
)

// patience is how long anything may take on a machine that is busy.
const patience = 2 * time.Minute

// Listener is what the listeners at all brokers have.
type Listener interface {
	Ready() error
	Close() error
}

// AwaitReady waits until a listener has its connection.
func AwaitReady(t testing.TB, l Listener) {
	t.Helper()
	require.Eventually(t, func() bool { return l.Ready() == nil }, patience, time.Millisecond)
}

// AwaitAway waits until a listener has none, and returns what it says of that.
func AwaitAway(t testing.TB, l Listener) string {
	t.Helper()
	var err error
	require.Eventually(t, func() bool { err = l.Ready(); return err != nil }, patience, time.Millisecond)
	return err.Error()
}

// Recover has the broker be away, or refuse who connects, from begin to end, while l tries to connect some times, which
// tries counts. Listener and agent are there again without anybody's help, and nothing is lost.
func Recover(t testing.TB, c *controller.Controller, l Listener, tr transport.Transport, tries *atomic.Int64, begin, end func()) {
	t.Helper()
	a := Run(t, tr)
	Succeed(t, Send(t, c, command.Drain{}))
	require.NoError(t, l.Ready())
	begin()
	AwaitAway(t, l)
	before := tries.Load()
	require.Eventually(t, func() bool { return tries.Load() >= before+3 }, patience, time.Millisecond)
	require.Error(t, l.Ready())
	r := Send(t, c, command.Drain{})
	end()
	AwaitReady(t, l)
	Succeed(t, r)
	a.Stop(2)
}
