package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/ws"
)

// The fleet says whose clock is off, and which way, and who cannot journal commands.
func TestFleetSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	link := func(vm string, skew time.Duration) transport.Link {
		tr, err := ws.New(url, ws.Options{})
		require.NoError(t, err)
		// As a relay hands it on: a hello without Via has the time of this machine.
		l, err := tr.Dial(t.Context(), transport.Hello{VM: vm, Instance: "i-" + vm, Via: "ws", Time: time.Now().Add(skew)})
		require.NoError(t, err)
		t.Cleanup(func() { l.Close() })
		return l
	}
	link("vm-ahead", 3*time.Hour)
	link("vm-behind", -3*time.Hour)
	full := link("vm-full", 0)
	ok(t, "send", "vm-full", "drain", "--id", "c-1", "--controller", url)
	_, err := full.Receive(t.Context())
	require.NoError(t, err)
	require.NoError(t, full.Ack(t.Context(), ack.Ack{
		CommandID: "c-1", Attempt: 1, Stage: ack.Deferred, Time: time.Now(), Code: ack.CodeNoDisk, RetryAfter: 0.1,
	}))
	fleet := ok(t, "fleet", "--controller", url)
	// A hello takes a moment, by which a clock seems to be more behind.
	require.Regexp(t, `(?m)^vm-ahead .*online, clock (3h0m0s|2h59m\d+s) ahead `, fleet)
	require.Regexp(t, `(?m)^vm-behind .*online, clock 3h0m\d+s behind `, fleet)
	require.Regexp(t, `(?m)^vm-full .*online.*, no disk for its journal `, fleet)

	_, err = full.Receive(t.Context()) // again
	require.NoError(t, err)
	require.NoError(t, full.Ack(t.Context(), ack.Ack{CommandID: "c-1", Attempt: 2, Stage: ack.Received, Time: time.Now()}))
	require.NotContains(t, ok(t, "fleet", "--controller", url), "no disk", "it has room again")
}
