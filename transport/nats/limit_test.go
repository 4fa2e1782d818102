package nats_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport/nats"
)

// A server says how large a message may be: where that is far too large the controller says so, once.
func TestALimitThatIsMissing(t *testing.T) {
	t.Parallel()
	for size, warns := range map[int32]int{1 << 20: 0, 4 << 20: 0, 8 << 20: 1, 64 << 20: 1} {
		var log bytes.Buffer
		s := broker(t, server.Options{MaxPayload: size, MaxPending: 64 << 20})
		listen(t, s.ClientURL(), newController(t), nats.ListenOptions{Log: slog.New(slog.NewTextHandler(&log, nil))})
		require.Equal(t, warns, bytes.Count(log.Bytes(), []byte("max_payload")), "%d: %s", size, &log)
	}
}
