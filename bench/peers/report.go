package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// writeTables writes one for each measure, and one that says what the words in their last columns mean.
func (r *report) writeTables(w io.Writer) {
	t := newTable(w, "A command and its ack", "> p50", "> p90", "> p99", "> p50 / bare", "promises")
	for _, m := range r.Results {
		t.AppendRow(table.Row{m.Name, short(m.RoundTrip.P50), short(m.RoundTrip.P90), short(m.RoundTrip.P99), ratio(m.RoundTrip.ToBare), m.Promises.words()})
	}
	t.Render()
	t = newTable(w, fmt.Sprintf("To %d VMs", r.VMs), "> under way to each", "> commands/s", "> / bare",
		"> CPU s per million", "> the controller's", "> CPU / bare", "promises")
	for _, m := range r.Results {
		t.AppendRow(table.Row{
			m.Name, m.Throughput.Window, fmt.Sprintf("%.0f", m.Throughput.PerSecond), ratio(m.Throughput.ToBare),
			seconds(m.Throughput.CPUSeconds), seconds(m.Throughput.CPUController), ratio(m.Throughput.CPUToBare), m.Promises.words(),
		})
	}
	t.Render()
	for _, m := range r.Results {
		m.writePromises(w)
	}
}

// writePromises writes what a peer does, and promises for it.
func (p *peer) writePromises(w io.Writer) {
	fmt.Fprintf(w, "\n%s: %s.\n", p.Name, p.How)
	for _, promise := range p.Promises.all() {
		fmt.Fprintf(w, "  %-8s %s\n", promise.word, promise.means)
	}
}

type promise struct{ word, means string }

// all are those that are made.
func (p promises) all() []promise {
	made := make([]promise, 0, 5)
	for _, one := range []promise{{"durable", p.Durable}, {"order", p.Order}, {"dedupe", p.Dedupe}, {"stages", p.Stages}, {"resume", p.Resume}} {
		if one.means != "" {
			made = append(made, one)
		}
	}
	return made
}

func (p promises) words() string {
	var words []string
	for _, one := range p.all() {
		words = append(words, one.word)
	}
	return strings.Join(words, ", ")
}

// newTable has a column for each of header; those that begin with "> " are numbers.
func newTable(w io.Writer, header ...string) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.SetStyle(table.StyleLight)
	t.Style().Format.Header = text.FormatDefault
	row := make(table.Row, 0, len(header))
	var columns []table.ColumnConfig
	for i, name := range header {
		name, number := strings.CutPrefix(name, "> ")
		if number {
			columns = append(columns, table.ColumnConfig{Number: i + 1, Align: text.AlignRight, AlignHeader: text.AlignRight})
		}
		row = append(row, name)
	}
	t.AppendHeader(row)
	t.SetColumnConfigs(columns)
	return t
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
