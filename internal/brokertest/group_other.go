//go:build !unix

package brokertest

import "os/exec"

func inGroup(*exec.Cmd) {}

// killGroup kills a command, and not its children. It may have ended.
func killGroup(cmd *exec.Cmd) { _ = cmd.Process.Kill() }
