package bench

import (
	"fmt"
	"io"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// WriteTables writes a table for each measure, and one of the goals.
func (r Report) WriteTables(w io.Writer) {
	if r.Controller != "" {
		fmt.Fprintf(w, "Of the controller at %s, through its admin API: a request that sends, and one that waits.\n", r.Controller)
	}
	if r.OneCPU {
		fmt.Fprintln(w, "With both processes on one CPU.")
	}
	if r.Delay > 0 || r.Jitter > 0 || r.Loss > 0 {
		fmt.Fprintf(w, "Over a network that delays by %s and up to %s more, and loses %g of 100 packets, each way; seed %d.\n", r.Delay, r.Jitter, 100*r.Loss, r.Seed)
	}
	if len(r.RoundTrip) > 0 {
		t := newTable(w, "Send to final ack", "", "p50", "p90", "p99", "p99.9", "p50 / bare", "p99 / bare", fmt.Sprintf("p50 / bare + %d commits", commits))
		for _, m := range r.RoundTrip {
			t.AppendRow(table.Row{
				m.Transport, m.kind(), short(m.P50), short(m.P90), short(m.P99), short(m.P999),
				ratio(m.ToBare), ratio(m.P99ToBare), ratio(m.ToFloor),
			})
		}
		if m := r.Commit; m != nil {
			t.AppendRow(table.Row{"a bare commit", "", short(m.P50), short(m.P90), short(m.P99), short(m.P999), "", "", ""})
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
	for _, rows := range [][]Throughput{r.Throughput, r.Durable} {
		if len(rows) == 0 {
			continue
		}
		t := newTable(w, fmt.Sprintf("%d VMs, %d under way to each", rows[0].VMs, rows[0].Window), "",
			"commands/s", "/ bare", "CPU s per million", "the controller's", "CPU / bare")
		for _, m := range rows {
			t.AppendRow(table.Row{m.Transport, m.kind(), fmt.Sprintf("%.0f", m.PerSecond), ratio(m.ToBare), seconds(m.CPUSeconds), seconds(m.CPUController), ratio(m.CPUToBare)})
		}
		t.Render()
	}
	if len(r.Idle) > 0 {
		t := newTable(w, fmt.Sprintf("an idle VM, of %d", r.Idle[0].VMs), "KiB", "goroutines", "KiB once gone", "of that the ledger's entry")
		for _, m := range r.Idle {
			t.AppendRow(table.Row{m.Transport, kib(m.Bytes), fmt.Sprintf("%.1f", m.Goroutines), kib(m.Gone), kib(m.Entry)})
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
	if len(r.Reconnect) > 0 {
		t := newTable(w, fmt.Sprintf("The controller of %d VMs is killed at %d commands/s", r.Reconnect[0].VMs, r.Reconnect[0].Rate), "",
			"half are back", "99 %", "all", "all is settled", "missing", "accepted", "lost", "run twice")
		for _, m := range r.Reconnect {
			t.AppendRow(table.Row{
				m.Transport, m.kind(), short(m.P50), short(m.P99), short(m.Last), short(m.Settled), m.Missing, m.Accepted, m.Lost, m.Twice,
			})
		}
		t.Render()
	}
	if len(r.Broadcast) > 0 {
		t := newTable(w, fmt.Sprintf("A broadcast to %d VMs, %d linked", r.Broadcast[0].VMs, r.Broadcast[0].Linked), "", "on disk", "CPU s")
		for _, m := range r.Broadcast {
			t.AppendRow(table.Row{m.Transport, m.kind(), short(m.Took), fmt.Sprintf("%.2f", m.CPUSeconds)})
		}
		t.Render()
	}
	if len(r.Growth) > 0 {
		t := newTable(w, "As it grows", "", "VMs known", "settled commands", "p50", "/ least", "CPU µs a command", "CPU / least")
		for _, m := range r.Growth {
			t.AppendRow(table.Row{
				m.Transport, m.kind(), m.Known, m.Past, short(m.P50), ratio(m.ToLeast), fmt.Sprintf("%.0f", m.CPU), ratio(m.CPUToLeast),
			})
		}
		t.Render()
	}
	if len(r.Goals) > 0 {
		r.writeGoals(w)
	}
}

// writeGoals is what a run has come to.
func (r Report) writeGoals(w io.Writer) {
	t := newTable(w, "Goal", "", "", "measured", "met")
	for _, g := range r.Goals {
		t.AppendRow(table.Row{g.What, g.Of, g.Limit(), fmt.Sprintf("%.2f", g.Measured), g.met()})
	}
	t.Render()
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
	if r.Commit != nil {
		latency(Contender{Transport: commitFloor}, "RoundTrip", *r.Commit)
	}
	for _, m := range r.Load {
		latency(m.Contender, "Load", m.Latency)
	}
	for _, m := range r.Throughput {
		line(m.Contender, "Throughput", 1, m.PerSecond, "commands/s", m.CPUSeconds, "cpu-s/million")
	}
	for _, m := range r.Durable {
		line(m.Contender, "Durable", 1, m.PerSecond, "commands/s", m.CPUSeconds, "cpu-s/million")
	}
	for _, m := range r.Idle {
		line(Contender{m.Transport, "memory"}, "Idle", int64(m.VMs), m.Bytes, "B/vm", m.Goroutines, "goroutines/vm", m.Gone, "B/gone", m.Entry, "B/entry")
	}
	for _, m := range r.Storm {
		line(m.Contender, "Storm", int64(m.VMs), ns(m.Took), "ns")
	}
	for _, m := range r.Reconnect {
		line(m.Contender, "Reconnect", int64(m.VMs), ns(m.P50), "p50-ns", ns(m.P99), "p99-ns", ns(m.Last), "last-ns", ns(m.Settled), "settled-ns",
			float64(m.Missing), "missing", float64(m.Lost), "lost", float64(m.Twice), "twice")
	}
	for _, m := range r.Broadcast {
		line(m.Contender, "Broadcast", int64(m.VMs), ns(m.Took), "ns", m.CPUSeconds, "cpu-s")
	}
	for _, m := range r.Growth {
		line(m.Contender, fmt.Sprintf("Growth/%d-known/%d-past", m.Known, m.Past), 1, ns(m.P50), "p50-ns", m.CPU, "cpu-us/command")
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

func kib(bytes float64) string { return fmt.Sprintf("%.1f", bytes/1024) }

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
