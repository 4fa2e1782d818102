package programs

import (
	"errors"
	"os"
	"os/signal"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Reap waits for processes that this one has inherited, as a container's first does, once they have ended: until then
// they are zombies. It does not return where this process has the ID 1, and does nothing elsewhere. In a process
// that calls it nobody but this package may start others.
func Reap() {
	if os.Getpid() != 1 {
		return
	}
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGCHLD)
	for {
		reapInherited()
		<-ended
	}
}

// reapInherited waits for all children that have ended, and leaves those that this package has started to who waits for them.
func reapInherited() {
	for {
		pid, err := endedChild()
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil || pid == 0:
			return
		}
		if own := children.waited(pid); own != nil {
			<-own // until then it hides the next
			continue
		}
		_, _ = unix.Wait4(pid, nil, unix.WNOHANG, nil)
	}
}

// endedChild is a child that has ended and was not waited for, 0 if there is none. It stays such.
func endedChild() (int, error) {
	var info unix.Siginfo
	if err := unix.Waitid(unix.P_ALL, 0, &info, unix.WEXITED|unix.WNOHANG|unix.WNOWAIT, nil); err != nil {
		return 0, err
	}
	// si_pid is the first field of a union after three 32-bit fields, which is aligned as a pointer is.
	const pointer = unsafe.Sizeof(uintptr(0))
	const at = (3*4 + pointer - 1) / pointer * pointer
	return int(*(*int32)(unsafe.Add(unsafe.Pointer(&info), at))), nil
}
