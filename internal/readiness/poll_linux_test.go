package readiness

import (
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// With the last wait its poll goes.
func TestNothingIsLeft(t *testing.T) { //nolint:paralleltest // others wait
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer conn.Close()
	over := make(chan bool, 2)
	first, ok := On(conn, func() { over <- true })
	require.True(t, ok)
	p := current
	second, ok := On(conn, func() { over <- true })
	require.True(t, ok)
	require.Same(t, p, current)
	first.Stop()
	require.Same(t, p, current)
	second.Stop()
	require.Nil(t, current)
	require.Empty(t, p.waits)
	<-over
	<-over
	require.Eventually(t, func() bool {
		_, err := p.file.Stat()
		return err != nil
	}, time.Minute, time.Millisecond)
}
