package httplink

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Borrowed is the connection of a request that waits for its answer, without what net/http keeps for a connection
// and a request: those are most of what a request costs that is held. It is the ResponseWriter for the answer, and
// goes back to its server with that.
type Borrowed struct {
	conn   net.Conn
	server *http.Server
	header http.Header
	status int
	body   bytes.Buffer
	first  []byte // what the client has said before it was answered

	mu      sync.Mutex
	waiting bool // the connection is not back
}

// Borrow takes over the connection of a request over HTTP/1.1 without a body: what came of one later would be taken for
// the next request. It returns false where that cannot be: the request goes on as it was.
func Borrow(w http.ResponseWriter, r *http.Request) (*Borrowed, bool) {
	if !Alone(r) {
		return nil, false
	}
	return borrow(w, r)
}

// serverOf is the server that a request came to, or nil.
func serverOf(r *http.Request) *http.Server {
	s, _ := r.Context().Value(http.ServerContextKey).(*http.Server)
	return s
}

// borrow is Borrow where it is known that nothing is to come of a body.
func borrow(w http.ResponseWriter, r *http.Request) (*Borrowed, bool) {
	server := serverOf(r)
	if server == nil || r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Close || closes(w.Header()) {
		return nil, false
	}
	header := w.Header().Clone() // who has set it may go on
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, false
	}
	first, _ := buffered.Peek(buffered.Reader.Buffered())
	return &Borrowed{
		conn: Unwrap(conn), server: server, header: header, status: http.StatusOK,
		first: bytes.Clone(first), waiting: true,
	}, true
}

// closes says whether an answer is the last of its connection.
func closes(h http.Header) bool { return strings.EqualFold(h.Get("Connection"), "close") }

// Alone says whether a connection is that of one GET without a body, with nothing more to come before it is answered.
func Alone(r *http.Request) bool {
	return r.ProtoMajor == 1 && r.ProtoMinor == 1 && r.Method == http.MethodGet && r.ContentLength == 0
}

// Wait returns when the client has gone, or speaks before it was answered (true), or was interrupted (false).
func (b *Borrowed) Wait() (over bool) {
	if len(b.first) > 0 {
		return true
	}
	_, err := b.conn.Read(make([]byte, 1))
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// Interrupt ends a Wait, or the next one unless Again comes before. After Answer it does nothing.
func (b *Borrowed) Interrupt() { b.allow(time.Unix(1, 0), true) }

// Again forgets an Interrupt.
func (b *Borrowed) Again() { b.allow(time.Time{}, true) }

// allow sets until when is read; waiting is whether there will be a Wait.
func (b *Borrowed) allow(until time.Time, waiting bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting {
		_ = b.conn.SetReadDeadline(until)
	}
	b.waiting = b.waiting && waiting
}

// Close gives the connection up.
func (b *Borrowed) Close() { b.conn.Close() }

// Header implements http.ResponseWriter.
func (b *Borrowed) Header() http.Header { return b.header }

// WriteHeader implements http.ResponseWriter.
func (b *Borrowed) WriteHeader(status int) { b.status = status }

// Write implements http.ResponseWriter.
func (b *Borrowed) Write(p []byte) (int, error) { return b.body.Write(p) }

// Answer sends what was written, within a time limit. The connection goes back to its server, or is closed where it is
// the last answer: a server that stops would wait for what comes after it.
func (b *Borrowed) Answer(limit time.Duration, last bool) {
	b.allow(time.Time{}, false)
	if b.send(limit, last) {
		giveBack(b.conn, b.server, nil)
	}
}

// send is Answer, and returns whether the connection is still to go back.
func (b *Borrowed) send(limit time.Duration, last bool) bool {
	b.header.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	b.header.Set("Content-Length", strconv.Itoa(b.body.Len()))
	if last {
		b.header.Set("Connection", "close")
	}
	var all bytes.Buffer
	fmt.Fprintf(&all, "HTTP/1.1 %d %s\r\n", b.status, http.StatusText(b.status))
	_ = b.header.Write(&all)
	all.WriteString("\r\n")
	all.Write(b.body.Bytes())
	_ = b.conn.SetWriteDeadline(time.Now().Add(limit))
	if _, err := b.conn.Write(all.Bytes()); err != nil || last {
		b.conn.Close()
		return false
	}
	_ = b.conn.SetWriteDeadline(time.Time{})
	return true
}
