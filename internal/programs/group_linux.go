package programs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// attributes has a program begin a group, and end in order when this process is killed. What the program has started is
// not told; the next agent ends that.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// identity tells a process from all others that have its ID before or after it: when it started, in which boot. It is empty
// if there is no such process.
func identity(pid int) string {
	p, err := readProcess(pid)
	if err != nil {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	return p.start + " " + strings.TrimSpace(string(boot))
}

// members are the processes of a group that run.
func members(group int) ([]int, error) {
	all, err := running()
	if err != nil {
		return nil, err
	}
	var pids []int
	for pid, p := range all {
		if p.group == group {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// running is all processes but those that have ended.
func running() (map[int]process, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	all := map[int]process{}
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		if p, err := readProcess(pid); err == nil && p.state != "Z" && p.state != "X" {
			all[pid] = p
		}
	}
	return all, nil
}

// startedFor says whether the environment that a process got names the command. It is known unless there is no environment, as
// for a moment when a process starts another program in its place.
func (r record) startedFor(pid int) (is, known bool) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "environ"))
	env := strings.Split(string(b), "\x00")
	is = slices.Contains(env, CommandVariable+"="+r.Command) && slices.Contains(env, VMVariable+"="+r.VM)
	return is, err != nil || len(b) > 0
}

// settleTime is how long a process may take to start another program in its place.
const settleTime = time.Second

// isOf says whether a group is the one that was recorded. Where the program itself is gone, another process could have had its
// ID, begun a group and be gone, too: so a process of the group has to know the command.
func (r record) isOf(group int) bool {
	_, err := readProcess(r.Group)
	if !errors.Is(err, fs.ErrNotExist) {
		return r.Start != "" && r.Start == identity(r.Group)
	}
	for until := time.Now().Add(settleTime); ; time.Sleep(firstLook) {
		pids, _ := members(group)
		unknown := false
		for _, pid := range pids {
			is, known := r.startedFor(pid)
			if is {
				return true
			}
			unknown = unknown || !known
		}
		if !unknown || time.Now().After(until) {
			return false
		}
	}
}

// find returns the groups of a record that names none: those of processes that know the command. Another agent of this machine
// may run one of the same name; the program's parent tells.
func (r record) find() []int {
	all, _ := running()
	self, _ := os.Readlink("/proc/self/exe")
	var groups []int
	for pid, p := range all {
		if is, _ := r.startedFor(pid); !is || slices.Contains(groups, p.group) {
			continue
		}
		parent, _ := os.Readlink(filepath.Join("/proc", strconv.Itoa(all[p.group].parent), "exe"))
		if p.group > 1 && (parent == "" || parent != self) {
			groups = append(groups, p.group)
		}
	}
	return groups
}

// process is what /proc/PID/stat tells.
type process struct {
	state  string
	parent int
	group  int
	start  string // clock ticks since the boot
}

var errNoStat = errors.New("/proc: not what proc(5) describes")

func readProcess(pid int) (process, error) {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if errors.Is(err, syscall.ESRCH) {
		err = fs.ErrNotExist
	}
	if err != nil {
		return process{}, err
	}
	_, after, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')')+1:]), " ") // a name may hold anything
	fields := strings.Fields(after)
	if len(fields) < 20 {
		return process{}, errNoStat
	}
	parent, bad := strconv.Atoi(fields[1])
	group, err := strconv.Atoi(fields[2])
	if err != nil || bad != nil {
		return process{}, errNoStat
	}
	return process{state: fields[0], parent: parent, group: group, start: fields[19]}, nil
}
