//go:build !linux

package readiness

import "syscall"

// Supported says whether the system has what On needs.
const Supported = false

type poll struct{}

func on(syscall.RawConn, func()) (*Wait, bool) { return nil, false }

// Stop has ready called now, unless it was.
func (w *Wait) Stop() {}
