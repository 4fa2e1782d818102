package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTables writes a table for each measure.
func (r Report) WriteTables(w io.Writer) {
	if r.OneCPU {
		fmt.Fprintln(w, "With both processes on one CPU.")
	}
	if r.Delay > 0 || r.Jitter > 0 {
		fmt.Fprintf(w, "Over a network that delays by %s and up to %s more, each way.\n", r.Delay, r.Jitter)
	}
	if len(r.RoundTrip) > 0 {
		t := newTable(w, "Send to final ack", "", "p50", "p90", "p99", "p99.9", "p50 / bare")
		for _, m := range r.RoundTrip {
			t.AppendRow(table.Row{m.Transport, m.kind(), short(m.P50), short(m.P90), short(m.P99), short(m.P999), ratio(m.ToBare)})
		}
		t.Render()
	}
	if len(r.Load) > 0 {
		t := newTable(w, fmt.Sprintf("%d commands/s to %d VMs", r.Load[0].Rate, r.Load[0].VMs), "", "p50", "p90", "p99", "p99.9")
		for _, m := range r.Load {
			t.AppendRow(table.Row{m.Transport, m.kind(), short(m.P50), short(m.P90), short(m.P99), short(m.P999)})
		}
		t.Render()
	}
	if len(r.Throughput) > 0 {
		t := newTable(w, fmt.Sprintf("%d VMs, %d under way to each", r.Throughput[0].VMs, r.Throughput[0].Window), "",
			"commands/s", "/ bare", "CPU s per million", "the controller's", "CPU / bare")
		for _, m := range r.Throughput {
			t.AppendRow(table.Row{m.Transport, m.kind(), fmt.Sprintf("%.0f", m.PerSecond), ratio(m.ToBare), seconds(m.CPUSeconds), seconds(m.CPUController), ratio(m.CPUToBare)})
		}
		t.Render()
	}
	if len(r.Idle) > 0 {
		t := newTable(w, fmt.Sprintf("an idle VM, of %d", r.Idle[0].VMs), "KiB", "goroutines")
		for _, m := range r.Idle {
			t.AppendRow(table.Row{m.Transport, fmt.Sprintf("%.1f", m.Bytes/1024), fmt.Sprintf("%.1f", m.Goroutines)})
		}
		t.Render()
	}
	if len(r.Storm) > 0 {
		t := newTable(w, fmt.Sprintf("%d VMs dial at once", r.Storm[0].VMs), "", "all have their command", "/ bare")
		for _, m := range r.Storm {
			t.AppendRow(table.Row{m.Transport, m.kind(), short(m.Took), ratio(m.ToBare)})
		}
		t.Render()
	}
}

// WriteBenchmarks writes the results as `go test -bench` does, for benchstat.
func (r Report) WriteBenchmarks(w io.Writer) {
	line := func(c Contender, measure string, n int64, metrics ...any) {
		fmt.Fprintf(w, "Benchmark%s/%s/%s-%d\t%d", measure, c.Transport, c.kind(), r.CPUs, n)
		for i := 0; i < len(metrics); i += 2 {
			fmt.Fprintf(w, "\t%.5g %s", metrics[i], metrics[i+1])
		}
		fmt.Fprintln(w)
	}
	ns := func(d time.Duration) float64 { return float64(d.Nanoseconds()) }
	latency := func(c Contender, measure string, l Latency) {
		line(c, measure, l.Count, ns(l.P50), "p50-ns", ns(l.P90), "p90-ns", ns(l.P99), "p99-ns", ns(l.P999), "p999-ns")
	}
	for _, m := range r.RoundTrip {
		latency(m.Contender, "RoundTrip", m.Latency)
	}
	for _, m := range r.Load {
		latency(m.Contender, "Load", m.Latency)
	}
	for _, m := range r.Throughput {
		line(m.Contender, "Throughput", 1, m.PerSecond, "commands/s", m.CPUSeconds, "cpu-s/million")
	}
	for _, m := range r.Idle {
		line(Contender{m.Transport, "memory"}, "Idle", int64(m.VMs), m.Bytes, "B/vm", m.Goroutines, "goroutines/vm")
	}
	for _, m := range r.Storm {
		line(m.Contender, "Storm", int64(m.VMs), ns(m.Took), "ns")
	}
}

func newTable(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	t.AppendHeader(header)
	columns := make([]table.ColumnConfig, 0, len(header))
	for i, name := range header {
		if i > 0 && name != "" {
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight})
		}
	}
	t.SetColumnConfigs(columns)
	return t
}

func (c Contender) kind() string {
	if c.Ledger == "" {
		return "bare"
	}
	return c.Ledger
}

// short is a time with three figures.
func short(d time.Duration) string {
	for _, unit := range []time.Duration{time.Second, time.Millisecond, time.Microsecond} {
		if d >= unit {
			return d.Round(unit / 100).String()
		}
	}
	return d.String()
}

func ratio(r float64) string {
	if r == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f", r)
}

func seconds(s float64) string {
	if s <= 0 {
		return ""
	}
	return fmt.Sprintf("%.0f", s)
}
