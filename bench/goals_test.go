package bench_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/bench"
)

// A report is judged by what it has, at the sizes that the goals are for.
func TestGoals(t *testing.T) {
	t.Parallel()
	memory := func(transport string) bench.Contender { return bench.Contender{Transport: transport, Ledger: "memory"} }
	bolt := func(transport string) bench.Contender { return bench.Contender{Transport: transport, Ledger: "bolt"} }
	r := bench.Report{
		RoundTrip: []bench.RoundTrip{
			{Contender: bench.Contender{Transport: "ws"}},
			{Contender: memory("ws"), ToBare: 1.15, P99ToBare: 1.3},
			{Contender: bolt("ws"), ToBare: 20, P99ToBare: 20, ToFloor: 0.9},
			{Contender: memory("longpoll"), ToBare: 0.95, P99ToBare: 1.2},
		},
		Throughput: []bench.Throughput{
			{Contender: memory("ws"), VMs: 100, Window: 64, ToBare: 2.1, CPUToBare: 0.7},
			{Contender: bolt("ws"), VMs: 100, Window: 64, ToBare: 0.5},
			{Contender: memory("sse"), VMs: 3, Window: 4, ToBare: 9}, // too few
		},
		Durable:   []bench.Throughput{{Contender: bolt("ws"), VMs: 8, Window: 8, ToBare: 0.25}},
		Idle:      []bench.Idle{{Transport: "grpc", VMs: 2000, Bytes: 25 << 10, Gone: 1500, Entry: 1000}},
		Storm:     []bench.Storm{{Contender: memory("ws"), VMs: 2000, ToBare: 1.4}, {Contender: memory("sse"), VMs: 2000, ToBare: 9}},
		Reconnect: []bench.Reconnect{{Contender: bolt("ws"), VMs: 2000, P99: 2 * time.Second}, {Contender: bolt("sse"), VMs: 2000, Twice: 1, P99: 3 * time.Second}, {Contender: bolt("rabbitmq"), VMs: 2000, P99: 4 * time.Second}, {Contender: bolt("nats"), VMs: 2000, P99: 9 * time.Second, Outage: time.Second}, {Contender: bolt("grpc"), VMs: 5, Lost: 1}},
		Broadcast: []bench.Broadcast{{Contender: bolt("ws"), VMs: 10_000, CPUSeconds: 1.2}},
		Growth: []bench.Growth{
			{Contender: bolt("ws"), Known: 10},
			{Contender: bolt("ws"), Known: 10_000, ToLeast: 1.1, CPUToLeast: 1.3},
			{Contender: bolt("ws"), Known: 10, Past: 1_000_000, ToLeast: 1.1, CPUToLeast: 0.9},
		},
	}
	r.Goals = r.Judge()
	var got []string
	for _, g := range r.Goals {
		met := " no"
		if g.Met {
			met = " yes"
		}
		got = append(got, g.What+" "+g.Of+" "+g.Limit()+met)
	}
	require.Equal(t, []string{
		"round trip, p50 / bare ws ≤ 1.15 yes",
		"round trip, p50 / bare longpoll ≤ 0.90 no",
		"round trip, p99 / bare ws ≤ 1.25 no",
		"round trip, p99 / bare longpoll ≤ 1.25 yes",
		"round trip on disk, p50 / bare + 3 bare commits ws ≤ 1.00 yes",
		"throughput / bare, 100 VMs × 64 ws ≥ 2.00 yes",
		"throughput on disk / bare, 100 VMs × 64 ws ≥ 0.60 no",
		"throughput on disk / bare, 8 VMs × 8 ws ≥ 0.25 yes",
		"CPU of a command / bare, 100 VMs × 64 ws ≤ 0.60 no",
		"KiB of an idle VM grpc ≤ 24.00 no",
		"KiB of a VM that has gone, without the ledger's entry grpc ≤ 0.50 yes",
		"connect storm / bare, 2,000 VMs ws ≤ 1.50 yes",
		"reconnect storm, 2,000 VMs: missing, lost, or run twice ws ≤ 0.00 yes",
		"reconnect storm, 2,000 VMs: missing, lost, or run twice sse ≤ 0.00 no",
		"reconnect storm, 2,000 VMs: missing, lost, or run twice nats ≤ 0.00 yes",
		"reconnect storm, 2,000 VMs: missing, lost, or run twice rabbitmq ≤ 0.00 yes",
		"reconnect storm, 2,000 VMs: p99 are back, s ws ≤ 2.50 yes",
		"reconnect storm, 2,000 VMs: p99 are back, s sse ≤ 2.50 no",
		"reconnect storm, 2,000 VMs: p99 are back, s rabbitmq ≤ 5.00 yes",
		"broadcast to 10,000 VMs, 9,000 of them away, s of CPU ws ≤ 1.00 no",
		"growth from 10 to 10,000 VMs, the worse of time and CPU bolt ≤ 1.25 no",
		"growth to 1,000,000 settled commands, likewise bolt ≤ 1.25 yes",
	}, got)
	var tables, page strings.Builder
	r.WriteTables(&tables)
	require.Regexp(t, `broadcast to 10,000 VMs.* ws +│ ≤ 1.00 +│ +1.20 │ +no`, tables.String())
	require.NoError(t, r.WritePage(&page))
	require.Contains(t, page.String(), "<td>≤ 0.60</td>")
	text, err := json.Marshal(r)
	require.NoError(t, err)
	require.Contains(t, string(text), `"goals":[{"what":"round trip, p50 / bare","of":"ws","at_most":1.15,"measured":1.15,"met":true}`)
	require.Empty(t, bench.Report{}.Judge())
}
