package conformance

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Report is the results of a run.
type Report struct {
	Seed    uint64   `json:"seed"` // replays it
	Results []Result `json:"results"`
}

// Failed returns the results that are not as they should be.
func (r Report) Failed() []Result {
	var out []Result
	for _, result := range r.Results {
		if result.Err != "" {
			out = append(out, result)
		}
	}
	return out
}

// WriteTable writes scenarios by subject, how many of those that apply were passed, and then what failed.
func (r Report) WriteTable(w io.Writer) error {
	var subjects []string
	var numbers []int
	names := map[int]string{}
	cells := map[int]map[string]string{}
	passed, applied := map[string]int{}, map[string]int{}
	for _, result := range r.Results {
		if !slices.Contains(subjects, result.Subject) {
			subjects = append(subjects, result.Subject)
		}
		if cells[result.Number] == nil {
			cells[result.Number] = map[string]string{}
			numbers = append(numbers, result.Number)
			names[result.Number] = result.Scenario
		}
		cells[result.Number][result.Subject] = result.mark()
		if result.Excluded == "" {
			applied[result.Subject]++
			if result.Err == "" {
				passed[result.Subject]++
			}
		}
	}
	slices.Sort(numbers)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "scenario\t%s\n", strings.Join(subjects, "\t"))
	for _, n := range numbers {
		row := []string{fmt.Sprintf("%2d %s", n, names[n])}
		for _, s := range subjects {
			row = append(row, cells[n][s])
		}
		fmt.Fprintln(t, strings.Join(row, "\t"))
	}
	row := []string{"passed"}
	for _, s := range subjects {
		row = append(row, fmt.Sprintf("%d of %d", passed[s], applied[s]))
	}
	fmt.Fprintln(t, strings.Join(row, "\t"))
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, r.summary())
	return err
}

func (r Result) mark() string {
	switch {
	case r.Excluded != "":
		return "- " + r.Excluded
	case r.Err != "":
		return "FAIL"
	case r.Note != "":
		return "pass, " + r.Note
	}
	return "pass"
}

func (r Report) summary() string {
	var b strings.Builder
	failures := r.Failed()
	excluded := 0
	for _, result := range r.Results {
		if result.Excluded != "" {
			excluded++
		}
	}
	for _, f := range failures {
		fmt.Fprintf(&b, "\nFAIL %s: %d %s (seed %d)\n%s\n", f.Subject, f.Number, f.Scenario, f.Seed, f.Err)
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d do not apply\n", len(r.Results)-len(failures)-excluded, len(failures), excluded)
	return b.String()
}
