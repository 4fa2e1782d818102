package programs

import (
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

func attributes() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }

// identity tells a process from all others that have its ID before or after it: when it started. It is empty if there is no
// such process.
func identity(pid int) string {
	p, err := unix.SysctlKinfoProc("kern.proc.pid", pid)
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%d.%06d", p.Proc.P_starttime.Sec, p.Proc.P_starttime.Usec)
}

const zombie = 5 // SZOMB of sys/proc.h

// members are the processes of a group that run.
func members(group int) ([]int, error) {
	list, err := unix.SysctlKinfoProcSlice("kern.proc.pgrp", group)
	if err != nil {
		return nil, err
	}
	var pids []int
	for i := range list {
		if list[i].Proc.P_stat != zombie {
			pids = append(pids, int(list[i].Proc.P_pid))
		}
	}
	return pids, nil
}

// isOf says whether a group is the one that was recorded. Once the program itself is gone nothing tells.
func (r record) isOf(int) bool { return r.Start != "" && r.Start == identity(r.Group) }

// find returns nothing: nothing tells what a process was started for.
func (record) find() []int { return nil }
