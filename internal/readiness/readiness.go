// Package readiness tells when a connection has something to be read, without a goroutine that waits for it: the
// stack of one is most of what an idle connection costs. It does so on Linux, by epoll(7).
package readiness

import (
	"net"
	"syscall"
)

// Wait is for one connection.
type Wait struct {
	poll  *poll
	id    uint64
	ready func()
}

// On has ready called once, in a goroutine of its own, when c can be read, which the end of c counts as, or at Stop.
// Stop is to be called before c is closed here. What a TLS connection has read and not handed on is not seen: a read
// of c should have found nothing just before. It returns false where this cannot be told.
func On(c net.Conn, ready func()) (w *Wait, ok bool) {
	raw, ok := socket(c)
	if !ok {
		return nil, false
	}
	return on(raw, ready)
}

// socket is what c reads from.
func socket(c net.Conn) (syscall.RawConn, bool) {
	for {
		switch inner := c.(type) {
		case syscall.Conn:
			raw, err := inner.SyscallConn()
			return raw, err == nil
		case interface{ NetConn() net.Conn }: // as *tls.Conn has
			c = inner.NetConn()
		default:
			return nil, false
		}
	}
}
