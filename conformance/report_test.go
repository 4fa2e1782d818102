package conformance_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/conformance"
)

func TestTable(t *testing.T) {
	t.Parallel()
	r := conformance.Report{Seed: 7, Results: []conformance.Result{
		{Subject: "ws", Number: 1, Scenario: "once-online"},
		{Subject: "ws", Number: 64, Scenario: "bad-json", Err: "it said 200", Seed: 9},
		{Subject: "nats", Number: 1, Scenario: "once-online"},
		{Subject: "nats", Number: 64, Scenario: "bad-json", Excluded: "no HTTP"},
	}}
	var b strings.Builder
	require.NoError(t, r.WriteTable(&b))
	require.Equal(t, `scenario        ws      nats
 1 once-online  pass    pass
64 bad-json     FAIL    - no HTTP
passed          1 of 2  1 of 1

FAIL ws: 64 bad-json (seed 9)
it said 200

2 passed, 1 failed, 1 do not apply
`, b.String())
	require.Len(t, r.Failed(), 1)
}
