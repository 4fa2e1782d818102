//go:build !linux

package programs

// Reap does nothing: it is for Linux, where a container's first process inherits what others leave.
func Reap() {}
