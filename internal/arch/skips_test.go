package arch_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Only internal/needs skips tests, since it fails them where MIGLINK_REQUIRE is set.
func TestOnlyNeedsSkipsTests(t *testing.T) {
	t.Parallel()
	const needs = module + "/internal/needs"
	for _, p := range list(t, "./...") {
		if p.ImportPath == needs {
			continue
		}
		for _, name := range slices.Concat(p.GoFiles, p.TestGoFiles, p.XTestGoFiles, p.IgnoredGoFiles) {
			files := token.NewFileSet()
			f, err := parser.ParseFile(files, filepath.Join(p.Dir, name), nil, parser.SkipObjectResolution)
			require.NoError(t, err)
			if !slices.ContainsFunc(f.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing"` }) {
				continue
			}
			ast.Inspect(f, func(n ast.Node) bool {
				s, ok := n.(*ast.SelectorExpr)
				if !ok || !slices.Contains([]string{"Skip", "Skipf", "SkipNow"}, s.Sel.Name) {
					return true
				}
				if of, ok := s.X.(*ast.Ident); ok && slices.Contains([]string{"t", "b", "f", "tb"}, of.Name) {
					t.Errorf("%s skips a test: say by %s what it needs of the machine", files.Position(s.Pos()), needs)
				}
				return true
			})
		}
	}
}
