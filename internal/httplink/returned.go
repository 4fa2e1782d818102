package httplink

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"time"
)

// back is a connection that goes back to its server, which takes it for a new one and would give it as long for its
// next request as a stranger has for the first. It has as long as any that waits for its next.
type back struct {
	net.Conn
	idle, header time.Duration // for the first byte, and for the header from then on; 0: no limit
	waits        bool          // nothing was read yet
}

// backTLS is back over TLS: net/http asks for the state of it.
type backTLS struct {
	*back
	tls *tls.Conn
}

func (b backTLS) ConnectionState() tls.ConnectionState { return b.tls.ConnectionState() }

func returned(c net.Conn, s *http.Server) net.Conn {
	b := &back{Conn: c, idle: cmp.Or(s.IdleTimeout, s.ReadTimeout), header: cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout), waits: true}
	if t, ok := c.(*tls.Conn); ok {
		return backTLS{b, t}
	}
	return b
}

// unwrap is the connection that was returned.
func unwrap(c net.Conn) net.Conn {
	switch c := c.(type) {
	case *back:
		return c.Conn
	case backTLS:
		return c.Conn
	}
	return c
}

func (b *back) Read(p []byte) (int, error) {
	if !b.waits {
		return b.Conn.Read(p)
	}
	if err := b.within(b.idle); err != nil {
		return 0, err
	}
	n, err := b.Conn.Read(p)
	b.waits = false
	if err == nil {
		err = b.within(b.header)
	}
	return n, err
}

func (b *back) within(d time.Duration) error {
	if d <= 0 {
		return b.Conn.SetReadDeadline(time.Time{})
	}
	return b.Conn.SetReadDeadline(time.Now().Add(d))
}

// SetReadDeadline does nothing before the first byte.
func (b *back) SetReadDeadline(t time.Time) error {
	if b.waits {
		return nil
	}
	return b.Conn.SetReadDeadline(t)
}

// CloseWrite is for net/http, which tells a client that way that it is heard no more.
func (b *back) CloseWrite() error {
	if c, ok := b.Conn.(interface{ CloseWrite() error }); ok {
		return c.CloseWrite()
	}
	return nil
}
