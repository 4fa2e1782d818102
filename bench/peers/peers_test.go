package main

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// The test is the program of the agents, too.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == "agents" {
		main()
		return
	}
	os.Exit(m.Run())
}

// Everything is measured, if not well: it takes no time.
func TestMeasure(t *testing.T) {
	t.Parallel()
	steps := 0
	o := options{
		Rounds: 2, Turn: 2 * time.Millisecond, VMs: 3, Window: 4,
		program: os.Args[0], progress: func(string) { steps++ },
	}
	require.NoError(t, o.Validate())
	r, err := o.measure(t.Context())
	require.NoError(t, err)
	require.Equal(t, 2*o.Rounds, steps)
	require.Len(t, r.Results, len(o.chosen()))
	for _, m := range r.Results {
		require.Positive(t, m.RoundTrip.Count, m.Name)
		require.Positive(t, m.RoundTrip.P50, m.Name)
		require.LessOrEqual(t, m.RoundTrip.P50, m.RoundTrip.P99, m.Name)
		require.Positive(t, m.RoundTrip.ToBare, m.Name)
		require.Positive(t, m.Throughput.PerSecond, m.Name)
		require.Positive(t, m.Throughput.ToBare, m.Name)
		require.NotEmpty(t, m.Promises.Order, m.Name)
	}
	var tables strings.Builder
	r.writeTables(&tables)
	require.Regexp(t, `miglink-bolt +│ .*s │ .*s │ .*s │ +[0-9.]+ │ durable, order, dedupe, stages, resume`, tables.String())
	data, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(data), `"name":"gorilla","how":`)
}

func TestBadFlags(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		`no peer "pigeon"`: {"--peers", "pigeon"},
		"at least 1":       {"--vms", "0"},
		"at most 1024":     {"--window", "2000"},
		"takes some time":  {"--turn", "0s"},
		"tcp://HOST:1883":  {"--mqtt", "localhost"},
		"needs --mqtt":     {"--peers", "mqtt-broker"},
	} {
		_, err := kong.Must(&cli{}).Parse(args)
		require.ErrorContains(t, err, says)
	}
}
