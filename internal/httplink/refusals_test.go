package httplink_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/httplink"
)

// A problem document lists no more refusals than there are acks in a message, and an agent makes no more of them.
func TestRefusalsAreCounted(t *testing.T) {
	many := []byte(`{"code":"acks_refused","refused":[` + strings.Repeat("{},", 300_000) + `{}]}`)
	n := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			require.Error(b, json.Unmarshal(many, new(httplink.Problem)))
		}
	}).AllocedBytesPerOp()
	require.Less(t, n, int64(len(many)))
	for body, want := range map[string]int{`[]`: 0, `null`: 0, `[{}]`: 1, `[null,{"index":1,"command_id":"c","code":"invalid"}]`: 2, `[` + strings.Repeat("{},", ack.MaxBatch-1) + `{}]`: ack.MaxBatch} {
		var p httplink.Problem
		require.NoError(t, json.Unmarshal([]byte(`{"refused":`+body+`}`), &p), body)
		require.Len(t, p.Refused, want)
	}
	var p httplink.Problem
	require.NoError(t, json.Unmarshal([]byte(`{"refused":[{"index":1,"command_id":"c","code":"invalid","detail":"d"}]}`), &p))
	require.Equal(t, httplink.Refusals{{Index: 1, CommandID: "c", Code: "invalid", Detail: "d"}}, p.Refused)
	require.Error(t, json.Unmarshal([]byte(`{"refused":[{"index":"x"}]}`), &p))
}
