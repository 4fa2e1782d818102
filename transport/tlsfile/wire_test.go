package tlsfile_test

import (
	"bytes"
	"io"
	"net"
	"sync"
	"time"
)

// wire returns two ends of a connection that holds what is written until it is read, which net.Pipe does not:
// two ends of TLS may write at the same time. It may be used under fake time.
func wire() (near, far net.Conn) {
	a, b := newFlow(), newFlow()
	return &wireEnd{in: a, out: b}, &wireEnd{in: b, out: a}
}

// flow is one direction.
type flow struct {
	mu     sync.Mutex
	more   *sync.Cond
	b      bytes.Buffer
	closed bool
}

func newFlow() *flow {
	f := &flow{}
	f.more = sync.NewCond(&f.mu)
	return f
}

type wireEnd struct {
	net.Conn // nil: of the methods that are not here none is called
	in, out  *flow
}

func (e *wireEnd) Read(b []byte) (int, error) {
	e.in.mu.Lock()
	defer e.in.mu.Unlock()
	for e.in.b.Len() == 0 && !e.in.closed {
		e.in.more.Wait()
	}
	return e.in.b.Read(b) // EOF where it is empty
}

func (e *wireEnd) Write(b []byte) (int, error) {
	e.out.mu.Lock()
	defer e.out.mu.Unlock()
	if e.out.closed {
		return 0, io.ErrClosedPipe
	}
	defer e.out.more.Broadcast()
	return e.out.b.Write(b)
}

// Close lets the other end read what it has not read yet.
func (e *wireEnd) Close() error {
	for _, f := range []*flow{e.in, e.out} {
		f.mu.Lock()
		f.closed = true
		f.more.Broadcast()
		f.mu.Unlock()
	}
	return nil
}

func (*wireEnd) SetDeadline(time.Time) error      { return nil }
func (*wireEnd) SetReadDeadline(time.Time) error  { return nil }
func (*wireEnd) SetWriteDeadline(time.Time) error { return nil }
