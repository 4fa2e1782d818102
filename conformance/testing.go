package conformance

import (
	"math/rand/v2"
	"testing"
)

// Test runs every scenario on a subject as a subtest of its own, one after the other, and returns the
// results, for a table of several subjects.
func Test(t *testing.T, subject Subject) Report {
	t.Helper()
	seed := rand.Uint64()
	report := Report{Seed: seed}
	t.Logf("seed %d", seed)
	for _, s := range Scenarios() {
		t.Run(s.title(), func(t *testing.T) {
			r := play(t.Context(), subject, s, Options{Seed: seed})
			report.Results = append(report.Results, r)
			if r.Excluded != "" {
				t.Logf("does not apply: %s", r.Excluded)
			}
			if r.Err != "" {
				t.Errorf("given %s, when %s, then %s\n%s", s.Given, s.When, s.Then, r.Err)
			}
		})
	}
	return report
}
