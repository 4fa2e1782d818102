package main

import (
	"fmt"
	"io"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"
)

// commands are the paths of a command and of all below it.
func commands(of *kong.Node, path ...string) [][]string {
	all := [][]string{path}
	for _, child := range of.Children {
		all = append(all, commands(child, append(path[:len(path):len(path)], child.Name)...)...)
	}
	return all
}

// The help of each command fits a terminal of 60 columns.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	const width = 60
	all := commands(newParser(&cli{}, io.Discard).Model.Node)
	require.Greater(t, len(all), 15)
	for _, path := range all {
		cmd := program(t, append(path, "--help")...)
		cmd.Env = append(cmd.Env, fmt.Sprint("COLUMNS=", width))
		help, err := cmd.Output()
		require.NoError(t, err, path)
		require.Contains(t, string(help), "Usage: miglink "+strings.Join(path, " "))
		for line := range strings.Lines(string(help)) {
			if n := utf8.RuneCountInString(strings.TrimSuffix(line, "\n")); n > width {
				t.Errorf("the help of %q has a line of %d columns: %s", path, n, line)
			}
		}
	}
}
