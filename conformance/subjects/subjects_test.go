package subjects_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/conformance"
	"github.com/miglink/miglink/conformance/subjects"
)

func TestConformance(t *testing.T) {
	var all conformance.Report
	for _, s := range subjects.All() {
		t.Run(s.Name, func(t *testing.T) {
			all.Results = append(all.Results, conformance.Test(t, s).Results...)
		})
	}
	var table strings.Builder
	require.NoError(t, all.WriteTable(&table))
	t.Log("\n" + table.String())
}
