//go:build unix

package programs

import (
	"os/exec"
	"sync"
)

// children are the processes that this package has started and waits for.
var children = family{running: map[int]chan struct{}{}}

type family struct {
	mu      sync.Mutex
	running map[int]chan struct{} // closed once the process was waited for
}

func (f *family) start(cmd *exec.Cmd) error {
	f.mu.Lock() // one that has ended already is known before anybody asks
	defer f.mu.Unlock()
	if err := cmd.Start(); err != nil {
		return err
	}
	f.running[cmd.Process.Pid] = make(chan struct{})
	return nil
}

func (f *family) ended(pid int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	close(f.running[pid])
	delete(f.running, pid)
}

// waited returns a channel that is closed once pid was waited for. It is nil if nobody waits for pid.
func (f *family) waited(pid int) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running[pid]
}
