package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func rendered(t *testing.T, width int, rows ...[]any) string {
	t.Helper()
	var b bytes.Buffer
	table := newTable(&b, "nothing", "text", "a number")
	table.width = width
	for _, row := range rows {
		table.add(row...)
	}
	require.NoError(t, table.Render())
	return b.String()
}

func TestTable(t *testing.T) {
	t.Parallel()
	rows := [][]any{{"a\x1b[2J\nb", 7}, {"", 12}}
	for name, test := range map[string]struct {
		width int
		want  string
	}{
		"a file": {0, `
text         a number
a\x1b[2J\nb         7
                   12
`},
		"a terminal": {60, `
┌─────────────┬──────────┐
│ text        │ a number │
├─────────────┼──────────┤
│ a\x1b[2J\nb │        7 │
│             │       12 │
└─────────────┴──────────┘
`},
		"as wide as it is": {26, "┌"},
		"too narrow": {25, `
text      a\x1b[2J\nb
a number  7

a number  12
`},
	} {
		got := rendered(t, test.width, rows...)
		if strings.HasPrefix(test.want, "\n") {
			require.Equal(t, test.want[1:], got, name)
		} else {
			require.True(t, strings.HasPrefix(got, test.want), "%s: %s", name, got)
		}
	}
	require.Equal(t, "nothing\n", rendered(t, 60))
}
