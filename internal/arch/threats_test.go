package arch_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/conformance"
)

// Every test that THREATS.md names is there, and so is every scenario.
func TestThreatsAreTested(t *testing.T) {
	t.Parallel()
	page, err := os.ReadFile("../../THREATS.md")
	require.NoError(t, err)
	declared := map[string]bool{}
	name := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	require.NoError(t, filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range name.FindAllStringSubmatch(string(b), -1) {
			declared[m[1]] = true
		}
		return err
	}))
	named := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(page), -1)
	require.NotEmpty(t, named)
	for _, n := range named {
		require.True(t, declared[n], "there is no %s", n)
	}

	scenarios := map[int]bool{}
	for _, s := range conformance.Scenarios() {
		scenarios[s.Number] = true
	}
	for _, list := range regexp.MustCompile(`scenarios? ([0-9, to]+)`).FindAllStringSubmatch(string(page), -1) {
		for _, n := range regexp.MustCompile(`[0-9]+`).FindAllString(list[1], -1) {
			number, err := strconv.Atoi(n)
			require.NoError(t, err)
			require.True(t, scenarios[number], "there is no scenario %d", number)
		}
	}
}
