package sse

import (
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// ending is a connection whose reads end with an error.
type ending struct {
	net.Conn
	err error
}

func (e ending) Read([]byte) (int, error) { return 0, &net.OpError{Op: "read", Err: e.err} }

// A peer that TCP has given up is gone, although its error is a timeout, too.
func TestTimedOutIsGone(t *testing.T) {
	t.Parallel()
	for err, gone := range map[error]bool{
		os.NewSyscallError("read", syscall.ETIMEDOUT):  true,
		os.NewSyscallError("read", syscall.ECONNRESET): true,
		os.ErrDeadlineExceeded:                         false,
	} {
		require.Equal(t, gone, (&owned{conn: ending{err: err}}).Wait(nil), "%s", err)
	}
}
