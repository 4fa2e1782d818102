//go:build unix && !linux && !darwin

package programs

import (
	"errors"
	"syscall"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// identity would tell a process from a later one of its ID.
func identity(int) string { return "" }

func members(int) ([]int, error) { return nil, errors.ErrUnsupported }

func (record) isOf(int) bool { return false }

// find returns nothing: nothing tells what a process was started for.
func (record) find() []int { return nil }
