//go:build !linux

package bench

import "time"

// Nothing of the standard library tells it here.

func ownCPU() time.Duration   { return 0 }
func cpuOf(int) time.Duration { return 0 }

func resident() (int, bool) { return 0, false }
