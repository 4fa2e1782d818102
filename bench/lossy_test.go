package bench

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// What is lost is late, by a timeout and what is lost again by twice that, and comes in order; the same seed loses
// the same.
func TestLossy(t *testing.T) {
	t.Parallel()
	waits := func(seed uint64) (late []time.Duration) {
		p, err := newLossy("127.0.0.1:1", 0.5, 0, seed)
		require.NoError(t, err)
		p.close() // what is late does not arrive any more, so nothing takes time
		for range 100 {
			late = append(late, p.late(1))
		}
		return late
	}
	one := waits(1)
	require.Equal(t, one, waits(1))
	require.NotEqual(t, one, waits(2))
	for _, want := range []time.Duration{0, 200 * time.Millisecond, 600 * time.Millisecond, 1400 * time.Millisecond} {
		require.Contains(t, one, want)
	}

	echo, err := net.Listen("tcp", anyPort)
	require.NoError(t, err)
	defer echo.Close()
	go func() {
		c, err := echo.Accept()
		if err == nil {
			io.Copy(c, c)
			c.Close()
		}
	}()
	p, err := newLossy(echo.Addr().String(), 0.1, 0, 1)
	require.NoError(t, err)
	defer p.close()
	c, err := net.Dial("tcp", p.listener.Addr().String())
	require.NoError(t, err)
	defer c.Close()
	for i := range byte(10) {
		_, err := c.Write([]byte{i})
		require.NoError(t, err)
	}
	got := make([]byte, 10)
	_, err = io.ReadFull(c, got)
	require.NoError(t, err)
	require.Equal(t, []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}, got)
}
