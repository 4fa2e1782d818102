package programs

import (
	"os/exec"
	"syscall"
	"unsafe"

	"golang.org/x/sys/windows"
)

// group is a job object, of which every process that one of its processes starts is a part. The kernel ends the job when its last
// handle is closed: with the agent, at the latest.
type group struct {
	id  int
	job windows.Handle
}

// start starts cmd in a job of its own. It is suspended until it is in the job, so that it has started nothing before.
func start(cmd *exec.Cmd) (*group, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return nil, err
	}
	g := &group{job: job}
	if err := g.limit(windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE); err != nil {
		g.close()
		return nil, err
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_SUSPENDED | windows.CREATE_NEW_PROCESS_GROUP}
	if err := cmd.Start(); err != nil {
		g.close()
		return nil, err
	}
	g.id = cmd.Process.Pid
	if err := g.adopt(); err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		g.close()
		return nil, err
	}
	return g, nil
}

// adopt makes the program part of the job, and lets it run.
func (g *group) adopt() error {
	process, err := windows.OpenProcess(windows.PROCESS_SET_QUOTA|windows.PROCESS_TERMINATE, false, uint32(g.id))
	if err != nil {
		return err
	}
	defer windows.CloseHandle(process) //nolint:errcheck // nothing is lost with it
	if err := windows.AssignProcessToJobObject(g.job, process); err != nil {
		return err
	}
	return resume(uint32(g.id))
}

// resume lets the only thread of a suspended process run.
func resume(pid uint32) error {
	all, err := windows.CreateToolhelp32Snapshot(windows.TH32CS_SNAPTHREAD, 0)
	if err != nil {
		return err
	}
	defer windows.CloseHandle(all) //nolint:errcheck // nothing is lost with it
	entry := windows.ThreadEntry32{Size: uint32(unsafe.Sizeof(windows.ThreadEntry32{}))}
	for err = windows.Thread32First(all, &entry); err == nil; err = windows.Thread32Next(all, &entry) {
		if entry.OwnerProcessID != pid {
			continue
		}
		thread, err := windows.OpenThread(windows.THREAD_SUSPEND_RESUME, false, entry.ThreadID)
		if err != nil {
			return err
		}
		defer windows.CloseHandle(thread) //nolint:errcheck // nothing is lost with it
		_, err = windows.ResumeThread(thread)
		return err
	}
	return err
}

// limit sets what the kernel does with the job.
func (g *group) limit(flags uint32) error {
	info := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: flags}}
	_, err := windows.SetInformationJobObject(g.job, windows.JobObjectExtendedLimitInformation, uintptr(unsafe.Pointer(&info)), uint32(unsafe.Sizeof(info)))
	return err
}

func (g *group) wait(cmd *exec.Cmd) error { return cmd.Wait() }

// ask says whether the group is left time to end. Without a console, as in a service, there is no way to ask.
func (g *group) ask() bool {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(g.id)) == nil
}

func (g *group) kill() { _ = windows.TerminateJobObject(g.job, 1) }

// accounting is JOBOBJECT_BASIC_ACCOUNTING_INFORMATION.
type accounting struct {
	TotalUserTime, TotalKernelTime, ThisPeriodTotalUserTime, ThisPeriodTotalKernelTime int64
	TotalPageFaultCount, TotalProcesses, ActiveProcesses, TotalTerminatedProcesses     uint32
}

func (g *group) alive() bool {
	var a accounting
	err := windows.QueryInformationJobObject(g.job, windows.JobObjectBasicAccountingInformation, uintptr(unsafe.Pointer(&a)), uint32(unsafe.Sizeof(a)), nil)
	return err == nil && a.ActiveProcesses > 0
}

// leave has what is in the group outlive it.
func (g *group) leave() { _ = g.limit(0) }

func (g *group) close() { _ = windows.CloseHandle(g.job) }

// identity is needed by nobody: the kernel leaves nothing of a job whose agent is gone.
func identity(int) string { return "" }

func (record) isOf(int) bool { return false }

func groupOf(int) *group { return nil }

// find returns nothing: nothing tells what a process was started for.
func (record) find() []int { return nil }
