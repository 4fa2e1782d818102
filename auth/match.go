package auth

import (
	"errors"
	"fmt"

	"github.com/miglink/miglink/internal/pattern"
	"github.com/miglink/miglink/transport"
)

// MatchVM says whether a pattern means a VM: * is any run of characters but /, also none; ** is any run at all, and
// every VM where it is alone; every other character stands for itself. The whole name must match. Grants of operators
// have the same grammar, see package controller/admin.
func MatchVM(p, vm string) bool { return pattern.Match(p, vm) }

// CheckVMPattern returns an error for a pattern that is not to be issued: empty, longer than transport.MaxVM bytes, or
// with one of ? [ ] \, which had a meaning once. In a token of that time they stand for themselves now, so it speaks
// for fewer VMs.
func CheckVMPattern(p string) error {
	if p == "" {
		return errors.New("a pattern of VMs is empty; ** is every VM")
	}
	if len(p) > transport.MaxVM {
		return fmt.Errorf("a pattern of VMs has %d bytes, at most %d are allowed", len(p), transport.MaxVM)
	}
	return pattern.CheckFormer(p)
}
