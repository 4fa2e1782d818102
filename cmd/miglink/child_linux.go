package main

import (
	"os/exec"
	"syscall"
)

// dieWithParent ends the child when this process is killed, and keeps the terminal's Ctrl-C from it: it
// is stopped in order.
func dieWithParent(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}
