package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
	"time"
)

//go:embed page.html
var pageSource string

var page = template.Must(template.New("page").Parse(pageSource))

// WritePage writes the results as a page with charts that needs nothing else.
func (r Report) WritePage(w io.Writer) error {
	var charts []chart
	if len(r.RoundTrip) > 0 {
		var rows []latencyRow
		for _, m := range r.RoundTrip {
			rows = append(rows, latencyRow{m.Contender, m.Latency})
		}
		charts = append(charts, latencyChart("Send to final ack", "One command at a time: ", rows))
	}
	if len(r.Load) > 0 {
		var rows []latencyRow
		for _, m := range r.Load {
			rows = append(rows, latencyRow{m.Contender, m.Latency})
		}
		charts = append(charts, latencyChart("Under load", fmt.Sprintf("%d commands a second to %d VMs, from when each was due: ", r.Load[0].Rate, r.Load[0].VMs), rows))
	}
	if len(r.Throughput) > 0 {
		var bars []bar
		for _, m := range r.Throughput {
			bars = append(bars, bar{m.Name(), m.class(), m.PerSecond, fmt.Sprintf("%.0f", m.PerSecond)})
		}
		charts = append(charts, barChart("Throughput", fmt.Sprintf("Commands a second to %d VMs, %d under way to each, until the final ack.",
			r.Throughput[0].VMs, r.Throughput[0].Window), bars))
	}
	if len(r.Idle) > 0 {
		var bars []bar
		for _, m := range r.Idle {
			bars = append(bars, bar{m.Transport + ", memory", "ours", m.Bytes, fmt.Sprintf("%.1f KiB, %.0f goroutines", m.Bytes/1024, m.Goroutines)})
		}
		charts = append(charts, barChart("An idle VM", "Memory of the controller for a connected VM on whose link nothing happens.", bars))
	}
	if len(r.Durable) > 0 {
		var bars []bar
		for _, m := range r.Durable {
			bars = append(bars, bar{m.Name(), m.class(), m.PerSecond, fmt.Sprintf("%.0f", m.PerSecond)})
		}
		charts = append(charts, barChart("Throughput to few VMs, on disk", fmt.Sprintf("Commands a second to %d VMs, %d under way to each; the bare loops have no disk.",
			r.Durable[0].VMs, r.Durable[0].Window), bars))
	}
	if len(r.Storm) > 0 {
		var bars []bar
		for _, m := range r.Storm {
			bars = append(bars, bar{m.Name(), m.class(), float64(m.Took), short(m.Took)})
		}
		charts = append(charts, barChart("Storm", fmt.Sprintf("%d VMs dial at once: the time until each has had the command that waited for it, and its final ack is in.", r.Storm[0].VMs), bars))
	}
	if len(r.Reconnect) > 0 {
		charts = append(charts, backChart(r.Reconnect))
	}
	if len(r.Broadcast) > 0 {
		var bars []bar
		for _, m := range r.Broadcast {
			bars = append(bars, bar{m.Name(), m.class(), float64(m.Took), fmt.Sprintf("%s, %.2f s of CPU", short(m.Took), m.CPUSeconds)})
		}
		charts = append(charts, barChart("Broadcast", fmt.Sprintf("The time until a command for each of %d VMs is on disk, %d of them linked.",
			r.Broadcast[0].VMs, r.Broadcast[0].Linked), bars))
	}
	if len(r.Growth) > 0 {
		var bars []bar
		for _, m := range r.Growth {
			name := fmt.Sprintf("%s, %d VMs", m.Ledger, m.Known)
			if m.Past > 0 {
				name = fmt.Sprintf("%s, %d past", m.Ledger, m.Past)
			}
			bars = append(bars, bar{name, m.class(), float64(m.P50), fmt.Sprintf("%s, %.0f µs of CPU", short(m.P50), m.CPU)})
		}
		charts = append(charts, barChart("Growth", fmt.Sprintf("Send to final ack over %s, the median, as the number of VMs grows that the controller knows, or of settled commands in its ledger, with %d VMs.",
			r.Growth[0].Transport, r.Growth[0].Known), bars))
	}
	return page.Execute(w, struct {
		Report
		Charts []chart
	}{r, charts})
}

// chart is rows from left to right, in the units of the page's drawing.
type chart struct {
	Title, Says string
	Height      int
	Ticks       []tickMark
	Rows        []chartRow
	Curves      []curve
}

type tickMark struct {
	X    float64
	Text string
}

type chartRow struct {
	Name, Class, Value string
	Y                  int
	End                float64
	Bar                float64
	Line               []float64
}

const (
	left, right = 140.0, 720.0
	rowHeight   = 24
)

type bar struct {
	name, class string
	size        float64
	value       string
}

func barChart(title, says string, bars []bar) chart {
	c := chart{Title: title, Says: says, Height: rowHeight * (len(bars) + 1)}
	largest := 0.0
	for _, b := range bars {
		largest = max(largest, b.size)
	}
	for i, b := range bars {
		width := 0.0
		if largest > 0 {
			width = max(b.size, 0) / largest * (right - left)
		}
		c.Rows = append(c.Rows, chartRow{
			Name: b.name, Class: b.class, Value: b.value, Y: rowHeight*i + rowHeight/2, Bar: width, End: left + width,
		})
	}
	return c
}

// backChart is the share of the VMs that are back, as time goes on.
func backChart(rows []Reconnect) chart {
	c := chart{
		Title: "Reconnect",
		Says: fmt.Sprintf("The controller of %d VMs is killed and started again, at %d commands a second: the share of the VMs that are back, from the kill on, on a logarithmic scale.",
			rows[0].VMs, rows[0].Rate),
		Height: backHeight + rowHeight,
	}
	low, high := time.Duration(math.MaxInt64), time.Duration(1)
	for _, m := range rows {
		if len(m.Back) > 0 {
			low, high = min(low, m.Back[0]), max(high, m.Last)
		}
	}
	var x func(time.Duration) float64
	x, c.Ticks = logarithmic(low, high)
	for i, m := range rows {
		var points strings.Builder
		for percent, at := range m.Back {
			fmt.Fprintf(&points, "%.1f,%.1f ", x(at), backHeight*(1-float64(percent)/100))
		}
		y := rowHeight*i + rowHeight/2
		c.Curves = append(c.Curves, curve{
			Class: fmt.Sprintf("curve%d", i%curveColours), Name: m.Transport, Y: y, Points: points.String(),
			Value: fmt.Sprintf("all: %s, lost %d, twice %d", short(m.Last), m.Lost, m.Twice),
		})
	}
	return c
}

const (
	backHeight   = 200
	curveColours = 6
)

// curve is a line of points, with its name at the left.
type curve struct {
	Class, Name, Value, Points string
	Y                          int
}

type latencyRow struct {
	Contender
	Latency
}

// latencyChart is on a logarithmic scale: the last percentiles are far out.
func latencyChart(title, says string, rows []latencyRow) chart {
	c := chart{
		Title:  title,
		Says:   says + "the median, and the 90th, 99th and 99.9th percentile, on a logarithmic scale.",
		Height: rowHeight * (len(rows) + 1),
	}
	low, high := time.Duration(math.MaxInt64), time.Duration(1)
	for _, m := range rows {
		low, high = min(low, m.P50), max(high, m.P999)
	}
	var x func(time.Duration) float64
	x, c.Ticks = logarithmic(low, high)
	for i, m := range rows {
		c.Rows = append(c.Rows, chartRow{
			Name: m.Name(), Class: m.class(), Value: short(m.P50) + ", 99%: " + short(m.P99),
			Y: rowHeight*i + rowHeight/2, Line: []float64{x(m.P50), x(m.P90), x(m.P99), x(m.P999)}, End: x(m.P999),
		})
	}
	return c
}

// logarithmic is a scale, with a tick for each power of ten.
func logarithmic(low, high time.Duration) (x func(time.Duration) float64, ticks []tickMark) {
	from := math.Floor(math.Log10(min(max(float64(low), 1), float64(high))))
	to := max(math.Ceil(math.Log10(float64(high))), from+1)
	x = func(d time.Duration) float64 {
		return left + (math.Log10(max(float64(d), 1))-from)/(to-from)*(right-left)
	}
	for power := from; power <= to; power++ {
		d := time.Duration(math.Pow(10, power))
		ticks = append(ticks, tickMark{x(d), d.String()})
	}
	return x, ticks
}

func (c Contender) class() string {
	if c.Ledger == "" {
		return "bare"
	}
	return "ours"
}
