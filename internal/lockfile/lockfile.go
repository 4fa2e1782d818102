// Package lockfile keeps a directory to one process, by a lock on a file in it. The lock goes with the process, however that
// ends.
package lockfile

import "errors"

// ErrInUse is that another process has the lock.
var ErrInUse = errors.New("in use by another process")
