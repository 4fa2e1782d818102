//go:build unix

package main

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a cancelled program end with all that it has started: first asked, then killed.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }
}
