package ack_test

import (
	"encoding/json"
	"math"
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

	const wire = `{"command_id":"c","status":"deferred","attempt":2,"timestamp":"2026-01-02T03:04:05Z","code":"no_room","reason":"busy","result":{"a":1},"retry_after":1.5}`
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
		"command_id is empty":                 {Stage: ack.Started},
		`status "" is not`:                    {CommandID: "c"},
		`status "queued" is not`:              {CommandID: "c", Stage: ack.Queued},
		`status "delivered" is not`:           {CommandID: "c", Stage: ack.Delivered},
		`status "dead" is not`:                {CommandID: "c", Stage: ack.Dead},
		`status "nearly" is not`:              {CommandID: "c", Stage: "nearly"},
		"command_id: 129 bytes, at most 128":  {CommandID: strings.Repeat("x", 129), Stage: ack.Started},
		"command_id: not UTF-8":               {CommandID: "\xff", Stage: ack.Started},
		"command_id: holds a NUL":             {CommandID: "\x00", Stage: ack.Started},
		`command_id: "c\n" holds a control`:   {CommandID: "c\n", Stage: ack.Started},
		"attempt is -1":                       {CommandID: "c", Stage: ack.Started, Attempt: -1},
		"attempt is 1073741825, 0 to 1073":    {CommandID: "c", Stage: ack.Started, Attempt: 1<<30 + 1},
		"code: 65 bytes, at most 64":          {CommandID: "c", Stage: ack.Failed, Code: ack.Code(strings.Repeat("x", ack.MaxCode+1))},
		`code: "No" may hold only a-z`:        {CommandID: "c", Stage: ack.Failed, Code: "No"},
		`code: "9a" may hold only a-z`:        {CommandID: "c", Stage: ack.Failed, Code: "9a"},
		`code: "_a" may hold only a-z`:        {CommandID: "c", Stage: ack.Failed, Code: "_a"},
		`code: "a\xff" may hold only a-z`:     {CommandID: "c", Stage: ack.Failed, Code: "a\xff"},
		"reason: 4097 bytes":                  {CommandID: "c", Stage: ack.Failed, Reason: strings.Repeat("x", ack.MaxText+1)},
		"reason: not UTF-8":                   {CommandID: "c", Stage: ack.Failed, Reason: "\xff"},
		"reason: holds a NUL":                 {CommandID: "c", Stage: ack.Failed, Reason: "a\x00b"},
		"result: 65537 bytes":                 {CommandID: "c", Stage: ack.Failed, Result: make([]byte, ack.MaxResult+1)},
		"result: not JSON at byte 0":          {CommandID: "c", Stage: ack.Failed, Result: []byte("x")},
		"result: not JSON at byte 1":          {CommandID: "c", Stage: ack.Progress, Result: []byte("{")},
		"result: nested more than 64":         {CommandID: "c", Stage: ack.Failed, Result: nested(ack.MaxDepth + 1)},
		"result: not UTF-8 at byte 1":         {CommandID: "c", Stage: ack.Failed, Result: []byte("\"\xff\"")},
		"result: a string holds a NUL":        {CommandID: "c", Stage: ack.Failed, Result: []byte(`"\u0000"`)},
		"result: a string holds half":         {CommandID: "c", Stage: ack.Failed, Result: []byte(`"\ud800"`)},
		"retry_after is 1e+09, 0 to 86400 se": {CommandID: "c", Stage: ack.Deferred, RetryAfter: 1e9},
		"ends_in is 691200001, 0 to 69120000": {CommandID: "c", Stage: ack.Started, EndsIn: 691_200_001},
		"run: 65 bytes, at most 64":           {CommandID: "c", Stage: ack.Started, Run: strings.Repeat("x", 65)},
		`run: "a\n" holds a control`:          {CommandID: "c", Stage: ack.Started, Run: "a\n"},
		"retry_after is -1":                   {CommandID: "c", Stage: ack.Deferred, RetryAfter: -1},
		"retry_after is NaN":                  {CommandID: "c", Stage: ack.Deferred, RetryAfter: math.NaN()},
		"retry_after is +Inf":                 {CommandID: "c", Stage: ack.Deferred, RetryAfter: math.Inf(1)},
	} {
		err := a.Validate()
		require.ErrorIs(t, err, ack.ErrInvalid, want)
		require.ErrorContains(t, err, want)
	}
	for _, a := range []ack.Ack{
		{CommandID: strings.Repeat("x", 128), Stage: ack.Failed, Attempt: 1 << 30, Reason: strings.Repeat("x", ack.MaxText), Result: nested(ack.MaxDepth), RetryAfter: ack.MaxRetryAfter.Seconds()},
		{CommandID: "c", Stage: ack.Failed, Code: "no_disk_2"},
		{CommandID: "c", Stage: ack.Failed, Code: ack.Code(strings.Repeat("x", ack.MaxCode))},
		{CommandID: "é", Stage: ack.Failed, Reason: "\x1b[31m é", Result: []byte(`"` + strings.Repeat("x", ack.MaxResult-2) + `"`)},
	} {
		require.NoError(t, a.Validate())
	}
}

func nested(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }

// A batch is within both of its limits, and at least one.
func TestBatch(t *testing.T) {
	t.Parallel()
	require.Zero(t, ack.Batch(nil))
	require.Equal(t, ack.MaxBatch, ack.Batch(make([]ack.Ack, ack.MaxBatch+1)))
	require.Equal(t, 3, ack.Batch(make([]ack.Ack, 3)))
	half := ack.Ack{Result: make([]byte, ack.MaxBatchBytes/2-ack.Ack{}.Size())}
	require.Equal(t, ack.MaxBatchBytes/2, half.Size())
	require.Equal(t, 2, ack.Batch([]ack.Ack{half, half, {}}), "the limit itself is allowed")
	huge := ack.Ack{Reason: strings.Repeat("x", ack.MaxBatchBytes)}
	require.Equal(t, 1, ack.Batch([]ack.Ack{huge, huge}))
	require.Equal(t, 1, ack.Batch([]ack.Ack{half, huge}))
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
