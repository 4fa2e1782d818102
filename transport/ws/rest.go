package ws

import (
	"bufio"
	"errors"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/readiness"
	"github.com/miglink/miglink/transport/framed"
)

const (
	readBuffer = 1 << 10

	// patience is how long a goroutine waits for the next message before the pipe rests.
	patience = time.Second / 10
)

// upgrading has websocket read from a reader that is known here, as it does where it is told no ReadBufferSize.
type upgrading struct {
	http.ResponseWriter
	reader *bufio.Reader
}

// Hijack implements http.Hijacker.
func (u *upgrading) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, buffered, err := http.NewResponseController(u.ResponseWriter).Hijack()
	conn = httplink.Unwrap(conn)
	if err != nil || buffered.Reader.Buffered() > 0 { // which websocket refuses
		return conn, buffered, err
	}
	u.reader = bufio.NewReaderSize(conn, readBuffer)
	return conn, bufio.NewReadWriter(u.reader, buffered.Writer), nil
}

// serverPipe needs no goroutine, and no buffer, while nothing comes. It implements framed.Resting and framed.Guarded.
type serverPipe struct {
	pipe
	reader *bufio.Reader // what conn reads from; the zero Reader while the pipe rests
	cannot bool          // rest

	mu   sync.Mutex
	rest *readiness.Wait // the latest; nil before the first
	over bool            // Close was called
}

func newServerPipe(conn *websocket.Conn, reader *bufio.Reader) *serverPipe {
	p := &serverPipe{pipe: pipe{conn: conn, most: framed.MaxHello}, reader: reader, cannot: !readiness.Supported}
	p.countControls()
	return p
}

// Trust implements framed.Guarded.
func (p *serverPipe) Trust() error {
	p.most = maxMessage
	return nil
}

// Rest implements framed.Resting.
func (p *serverPipe) Rest(wake func()) bool {
	if p.cannot || p.reader.Buffered() > 0 {
		return false
	}
	_ = p.conn.SetReadDeadline(time.Now().Add(patience))
	_, err := p.reader.Peek(1)
	_ = p.conn.SetReadDeadline(time.Time{})
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.over {
		return false
	}
	*p.reader = bufio.Reader{}
	rest, ok := readiness.On(p.conn.NetConn(), func() {
		p.buffer()
		wake()
	})
	if !ok {
		p.cannot = true
		p.buffer()
		return false
	}
	p.rest = rest
	return true
}

// buffer is what is read into again.
func (p *serverPipe) buffer() { *p.reader = *bufio.NewReaderSize(p.conn.NetConn(), readBuffer) }

func (p *serverPipe) Close() error {
	p.mu.Lock()
	p.over = true
	rest := p.rest
	p.mu.Unlock()
	if rest != nil {
		rest.Stop()
	}
	return p.pipe.Close()
}
