package arch_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// DESIGN.md has a row of three cells for each room, and for each room one.
func TestDesignHasARowForEachRoom(t *testing.T) {
	t.Parallel()
	design, err := os.ReadFile("../../DESIGN.md")
	require.NoError(t, err)
	_, table, found := strings.Cut(string(design), "| --- | --- | --- |\n")
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n\n")
	rows := map[string]int{}
	for row := range strings.Lines(table) {
		row = strings.TrimSpace(row)
		cells := strings.Split(strings.Trim(row, "|"), "|")
		if len(cells) != 3 {
			t.Errorf("this row has %d cells: %s", len(cells), row)
			continue
		}
		for _, name := range regexp.MustCompile("`[^`]+`").FindAllString(cells[0], -1) {
			rows[strings.Trim(name, "`")]++
		}
	}
	for name := range rooms {
		if strings.HasPrefix(name, "transport/grpc/miglinkv1") {
			continue // generated
		}
		of := 0
		for row, times := range rows {
			if above, all := strings.CutSuffix(row, "…"); row == name || all && strings.HasPrefix(name, above) {
				of += times
			}
		}
		if of != 1 {
			t.Errorf("%s is in %d rows of the table of DESIGN.md, not in one", name, of)
		}
	}
}
