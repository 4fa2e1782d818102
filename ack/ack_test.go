package ack_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
)

func TestWire(t *testing.T) {
	t.Parallel()
	var a ack.Ack
	require.NoError(t, json.Unmarshal([]byte(`{"command_id":"c","status":"processed"}`), &a), "as the deployed agents say it")
	require.Equal(t, ack.Ack{CommandID: "c", Stage: ack.Succeeded}, a)
	require.NoError(t, a.Validate())

	const wire = `{"command_id":"c","status":"deferred","attempt":2,"timestamp":"2026-01-02T03:04:05Z","reason":"busy","result":{"a":1},"retry_after":1.5}`
	a = ack.Ack{}
	require.NoError(t, json.Unmarshal([]byte(wire), &a))
	require.Equal(t, 1500*time.Millisecond, a.Delay())
	b, err := json.Marshal(a)
	require.NoError(t, err)
	require.Equal(t, wire, string(b))
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	for want, a := range map[string]ack.Ack{
		"command_id is empty":                {Stage: ack.Started},
		`status "" is not`:                   {CommandID: "c"},
		`status "queued" is not`:             {CommandID: "c", Stage: ack.Queued},
		`status "delivered" is not`:          {CommandID: "c", Stage: ack.Delivered},
		`status "dead" is not`:               {CommandID: "c", Stage: ack.Dead},
		`status "nearly" is not`:             {CommandID: "c", Stage: "nearly"},
		"attempt is negative":                {CommandID: "c", Stage: ack.Started, Attempt: -1},
		"reason has 4097 bytes":              {CommandID: "c", Stage: ack.Failed, Reason: strings.Repeat("x", ack.MaxText+1)},
		"result has 65537 bytes":             {CommandID: "c", Stage: ack.Failed, Result: make([]byte, ack.MaxResult+1)},
		"retry_after is not within 0 and 86": {CommandID: "c", Stage: ack.Deferred, RetryAfter: 1e9},
	} {
		err := a.Validate()
		require.ErrorIs(t, err, ack.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
}

func FuzzAck(f *testing.F) {
	f.Add([]byte(`{"command_id":"c","status":"completed","retry_after":1e300}`))
	f.Add([]byte(`{"command_id":"c","status":"\u0000","attempt":-1,"result":[1]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var a ack.Ack
		if json.Unmarshal(b, &a) != nil || a.Validate() != nil {
			return
		}
		require.GreaterOrEqual(t, a.Delay(), time.Duration(0))
		require.LessOrEqual(t, a.Delay(), ack.MaxRetryAfter)
		s, _ := ack.State{}.Merge(a)
		again, _ := s.Merge(a)
		require.Equal(t, s, again)
	})
}
