//go:build !linux

package bench

import (
	"errors"
	"runtime"
)

func onOneCPU() (restore func(), err error) {
	return nil, errors.New("bench: one CPU: " + runtime.GOOS + " has no way for it")
}
