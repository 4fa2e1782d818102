package auth

import (
	"errors"
	"fmt"
	"path"
	"strings"

	"github.com/miglink/miglink/transport"
)

// anything ends a pattern that says only how a name begins.
const anything = "**"

// MatchVM says whether a pattern means a VM. Patterns are those of path.Match: * is any number of characters but /,
// ? is one but /, [a-z] is one of these, and \ takes from the next character its meaning. The whole name must match.
// Beyond that, ** at the end of a pattern is anything at all, / included, and also nothing: pool-1/** is all that
// begins with pool-1/, and ** is every VM. A malformed pattern means none.
func MatchVM(pattern, vm string) bool {
	begin, open := strings.CutSuffix(pattern, anything)
	if !open {
		ok, err := path.Match(pattern, vm)
		return ok && err == nil
	}
	for i := range vm {
		if ok, err := path.Match(begin, vm[:i]); ok || err != nil {
			return ok && err == nil
		}
	}
	ok, err := path.Match(begin, vm)
	return ok && err == nil
}

// CheckVMPattern returns an error for a pattern that MatchVM finds malformed, or that is longer than transport.MaxVM
// bytes or empty.
func CheckVMPattern(pattern string) error {
	if pattern == "" {
		return errors.New("a pattern of VMs is empty")
	}
	if len(pattern) > transport.MaxVM {
		return fmt.Errorf("a pattern of VMs has %d bytes, at most %d are allowed", len(pattern), transport.MaxVM)
	}
	if _, err := path.Match(strings.TrimSuffix(pattern, anything), ""); err != nil {
		return fmt.Errorf("%q is no pattern of VMs: %w", pattern, err)
	}
	return nil
}
