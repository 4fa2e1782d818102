package logfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// datasync makes what was written durable, and of what is said of the file what is needed to find it.
func datasync(f *os.File) error {
	for {
		if err := unix.Fdatasync(int(f.Fd())); err != unix.EINTR {
			return err
		}
	}
}
