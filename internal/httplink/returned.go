package httplink

import (
	"cmp"
	"crypto/tls"
	"net"
	"net/http"
	"sync"
	"time"
)

// back is a connection that goes back to its server, which takes it for a new one and would give it as long for its
// next request as a stranger has for the first. It has as long as any that waits for its next.
type back struct {
	net.Conn
	idle, header time.Duration // for the first byte, and for the header from then on; 0: no limit
	waits        bool          // nothing was read yet
	first        []byte        // was read before it came back
}

// backTLS is back over TLS: net/http asks for the state of it.
type backTLS struct {
	*back
	tls *tls.Conn
}

func (b backTLS) ConnectionState() tls.ConnectionState { return b.tls.ConnectionState() }

func returned(c net.Conn, s *http.Server, first []byte) net.Conn {
	b := &back{
		Conn: c, waits: true, first: first,
		idle: cmp.Or(s.IdleTimeout, s.ReadTimeout), header: cmp.Or(s.ReadHeaderTimeout, s.ReadTimeout),
	}
	if t, ok := c.(*tls.Conn); ok {
		return backTLS{b, t}
	}
	return b
}

// Unwrap is the connection that was returned, whose first request was read.
func Unwrap(c net.Conn) net.Conn {
	switch b := c.(type) {
	case *back:
		return b.Conn
	case backTLS:
		return b.Conn
	}
	return c
}

func (b *back) Read(p []byte) (int, error) {
	if !b.waits {
		return b.read(p)
	}
	if err := b.within(b.idle); err != nil {
		return 0, err
	}
	n, err := b.read(p)
	b.waits = false
	if err == nil {
		err = b.within(b.header)
	}
	return n, err
}

func (b *back) read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.Conn.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
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

// giveBack has a server serve a connection again, of which so much was read. It returns at once, and closes the
// connection where the server has stopped.
func giveBack(c net.Conn, s *http.Server, first []byte) {
	_ = s.Serve(&once{conn: returned(c, s, first), addr: c.LocalAddr()})
}

// once is a Listener of one connection.
type once struct {
	mu   sync.Mutex
	conn net.Conn // nil: accepted or closed
	addr net.Addr
}

func (o *once) Accept() (net.Conn, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == nil {
		return nil, net.ErrClosed
	}
	conn := o.conn
	o.conn = nil
	return conn, nil
}

func (o *once) Close() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.conn == nil {
		return nil
	}
	return o.conn.Close()
}

func (o *once) Addr() net.Addr { return o.addr }
