package logfile

import (
	"errors"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
)

// NoRoom says whether an error means that a disk, or a quota, is full, which may pass.
func NoRoom(err error) bool {
	for _, full := range [...]error{syscall.ENOSPC, syscall.EDQUOT, syscall.EFBIG} {
		if errors.Is(err, full) {
			return true
		}
	}
	return runtime.GOOS == "windows" && errors.Is(err, syscall.Errno(112)) // ERROR_DISK_FULL
}

var limit atomic.Pointer[func(path string) error]

// LimitRoom is for tests: room is asked before a file takes more of its disk, and refuses with an error. Nil ends that.
func LimitRoom(room func(path string) error) {
	if room == nil {
		limit.Store(nil)
		return
	}
	limit.Store(&room)
}

// RoomFor returns why a file may not take so many bytes more of its disk, for tests only: outside of them it is nil.
func RoomFor(f *os.File, more int64) error {
	if ask := limit.Load(); ask != nil && more > 0 {
		return (*ask)(f.Name())
	}
	return nil
}
