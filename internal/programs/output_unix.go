//go:build unix

package programs

import (
	"errors"
	"io"
	"os"
	"syscall"
	"time"
)

// maxPipe is the most that a pipe holds, by default, if its size was changed.
const maxPipe = 1 << 20

// settle reads what is in the pipe by now, which is all that those who have ended have printed. It says whether others may
// print more, which is read and dropped.
func (o *output) settle() (open bool) {
	_ = o.pipe.SetReadDeadline(time.Now()) // a pipe has deadlines on Unix
	<-o.copied
	if !errors.Is(o.err, os.ErrDeadlineExceeded) {
		return false
	}
	_ = o.pipe.SetReadDeadline(time.Time{})
	o.drain()
	go func() {
		_, _ = io.Copy(io.Discard, o.pipe)
		o.pipe.Close()
	}()
	return true
}

// drain reads what is there, and does not wait for more.
func (o *output) drain() {
	raw, err := o.pipe.SyscallConn()
	if err != nil {
		return
	}
	b := make([]byte, 64<<10)
	for read := 0; read < maxPipe; {
		n := 0
		err := raw.Read(func(fd uintptr) bool {
			n, _ = syscall.Read(int(fd), b)
			return true
		})
		if err != nil || n <= 0 {
			return
		}
		_, _ = o.tail.Write(b[:n])
		read += n
	}
}
