package sse

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
)

// response is what a stream is written to.
type response interface {
	http.ResponseWriter
	// Begin is called before what Flush sends is written, which is to be over by a deadline.
	Begin(deadline time.Time)
	Flush() error
	// Prompt says whether a write waits for nobody while few bytes are under way.
	Prompt() bool
	// Wait returns when the client has gone (true), or once interrupt is closed or Interrupt is called.
	Wait(interrupt <-chan struct{}) (gone bool)
	// Interrupt ends Wait.
	Interrupt()
	// Close ends the response, and every write with it where the client has gone.
	Close(gone bool)
}

// shared is a response on a connection that is net/http's.
type shared struct {
	http.ResponseWriter
	control *http.ResponseController
	ctx     context.Context
}

var errNoStream = transport.Errorf(transport.CodeProtocol, "the server cannot stream")

func share(w http.ResponseWriter, r *http.Request) (response, error) {
	if _, err := sse.Upgrade(w, r); err != nil {
		return nil, errNoStream
	}
	return &shared{w, http.NewResponseController(w), r.Context()}, nil
}

// Begin overrides the server's WriteTimeout, too.
func (s *shared) Begin(deadline time.Time) { _ = s.control.SetWriteDeadline(deadline) } // not all can

func (s *shared) Flush() error {
	defer s.control.SetWriteDeadline(time.Time{}) //nolint:errcheck // or HTTP/2 would end an idle stream
	return s.control.Flush()
}

func (s *shared) Prompt() bool { return false }

func (s *shared) Wait(interrupt <-chan struct{}) bool {
	select {
	case <-s.ctx.Done():
		return true
	case <-interrupt:
		return false
	}
}

func (s *shared) Interrupt() {}
func (s *shared) Close(bool) {}

// owned is a response on a connection of its own: what net/http keeps for a connection and a request are most of
// what an idle stream would cost.
type owned struct {
	conn   net.Conn
	header http.Header // nil once it is sent
	chunk  *bytes.Buffer
}

// takeOver has net/http hand its connection over, where it is the request's alone.
func takeOver(w http.ResponseWriter, r *http.Request) (response, bool) {
	if !httplink.Alone(r) {
		return nil, false
	}
	header := w.Header().Clone() // who has set it may go on
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, false
	}
	return &owned{conn: httplink.Unwrap(conn), header: header}, true
}

// chunks are lent to responses while they write.
var chunks = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const (
	sizeLine = "ffffffff\r\n" // has room for the size of a chunk
	maxKept  = 64 << 10       // the largest buffer that is kept for the next chunk
)

func (o *owned) Header() http.Header      { return o.header }
func (o *owned) WriteHeader(int)          {}
func (o *owned) Begin(deadline time.Time) { _ = o.conn.SetWriteDeadline(deadline) }
func (o *owned) Prompt() bool             { return true }

// Write implements http.ResponseWriter. Chunks are those of RFC 9112, section 7.1.
func (o *owned) Write(b []byte) (int, error) {
	if o.chunk == nil {
		o.chunk = chunks.Get().(*bytes.Buffer)
		o.chunk.WriteString(sizeLine)
	}
	return o.chunk.Write(b)
}

// Flush sends what was written as one chunk.
func (o *owned) Flush() error {
	if o.chunk == nil {
		return nil
	}
	chunk := o.chunk
	o.chunk = nil
	defer func() {
		if chunk.Cap() <= maxKept {
			chunk.Reset()
			chunks.Put(chunk)
		}
	}()
	line := strconv.AppendUint(make([]byte, 0, len(sizeLine)), uint64(chunk.Len()-len(sizeLine)), 16)
	line = append(line, "\r\n"...)
	chunk.WriteString("\r\n")
	b := chunk.Bytes()[len(sizeLine)-len(line):]
	copy(b, line)
	if o.header != nil {
		b = append(o.head(), b...)
		o.header = nil
	}
	_, err := o.conn.Write(b)
	return err
}

// head is the response's status line and header.
func (o *owned) head() []byte {
	o.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	o.header.Set("Transfer-Encoding", "chunked")
	o.header.Set("Connection", "close")
	b := bytes.NewBufferString("HTTP/1.1 200 OK\r\n")
	_ = o.header.Write(b)
	b.WriteString("\r\n")
	return b.Bytes()
}

// Wait reads: a client of a stream has nothing more to say, so whatever comes is its end.
func (o *owned) Wait(<-chan struct{}) bool {
	_, err := o.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded) // which a peer that TCP finds dead is not
}

func (o *owned) Interrupt() { _ = o.conn.SetReadDeadline(time.Unix(1, 0)) }

func (o *owned) Close(gone bool) {
	if !gone {
		_, _ = o.conn.Write([]byte("0\r\n\r\n"))
	}
	o.conn.Close()
}
