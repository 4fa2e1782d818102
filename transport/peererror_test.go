package transport_test

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
)

func TestPeerError(t *testing.T) {
	t.Parallel()
	require.Equal(t, &transport.Error{Code: transport.CodeUnavailable, Message: "not now", RetryAfter: 1500 * time.Millisecond},
		transport.PeerError(transport.CodeUnavailable, "not now", 1.5))

	e := transport.PeerError(transport.Code(strings.Repeat("\n", 100)), strings.Repeat("\x1b", 64<<10), 1e300)
	require.LessOrEqual(t, len(e.Code), 64)
	require.LessOrEqual(t, len(e.Message), 1<<10)
	require.NotContains(t, e.Error(), "\x1b")
	require.NotContains(t, e.Error(), "\n")
	require.Equal(t, 24*time.Hour, e.RetryAfter)

	for _, none := range []float64{0, -1, math.NaN(), math.Inf(-1)} {
		require.Zero(t, transport.PeerError(transport.CodeMoved, "", none).RetryAfter, none)
	}
	require.Equal(t, 24*time.Hour, transport.PeerError(transport.CodeMoved, "", math.Inf(1)).RetryAfter)
}
