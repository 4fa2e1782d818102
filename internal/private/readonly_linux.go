package private

import "syscall"

// stRDONLY is ST_RDONLY of statvfs(3): of the mount, so it holds for a read-only bind mount, too.
const stRDONLY = 1

// readOnly says whether a path is on a file system that is mounted read-only. It is a variable for tests, which cannot
// mount.
var readOnly = func(path string) bool {
	var s syscall.Statfs_t
	return syscall.Statfs(path, &s) == nil && s.Flags&stRDONLY != 0
}
