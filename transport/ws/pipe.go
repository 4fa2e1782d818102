package ws

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

const (
	subprotocol  = "miglink.v1"
	greeted      = "miglink.v1.greeted" // likewise, but that the request is the hello, and its answer the welcome
	maxMessage   = 2 << 20              // bytes; a page of commands with the largest parameters, or of acks
	writeTimeout = 15 * time.Second
	drainTime    = time.Second
	writeBuffer  = 4 << 10
)

// keepaliveHeader is the keepalive of a welcome that is an answer's header.
const keepaliveHeader = "Miglink-Keepalive"

// writeBuffers are lent to connections while they write, and messages are buffers of one message.
var (
	writeBuffers sync.Pool
	messages     = sync.Pool{New: func() any { return new(bytes.Buffer) }}
)

// maxKept is the largest buffer that is kept for the next message.
const maxKept = 64 << 10

func borrow() *bytes.Buffer { return messages.Get().(*bytes.Buffer) }

func giveBack(b *bytes.Buffer) {
	if b.Cap() <= maxKept {
		b.Reset()
		messages.Put(b)
	}
}

// pipe carries frames over one connection.
type pipe struct {
	conn     *websocket.Conn
	most     int64 // bytes of a message that comes in; the library's own limit would say nothing of ours
	controls controls
	closed   sync.Once
}

func newPipe(conn *websocket.Conn) *pipe {
	p := &pipe{conn: conn, most: maxMessage}
	p.countControls()
	return p
}

func (p *pipe) Send(f *framed.Frame) error {
	b := borrow()
	defer giveBack(b)
	if err := framed.Encode(b, f); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	if b.Len() > maxMessage {
		return fmt.Errorf("ws: a message of %d bytes, at most %d are allowed", b.Len(), maxMessage)
	}
	deadline := time.Now().Add(writeTimeout)
	if err := p.conn.SetWriteDeadline(deadline); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	if err := p.conn.WriteMessage(websocket.TextMessage, b.Bytes()); err != nil {
		return fmt.Errorf("ws: %w", err)
	}
	if f.Close != nil { // tell those, too, who only know WebSocket
		_ = p.conn.WriteControl(websocket.CloseMessage, websocket.FormatCloseMessage(closeCode(f.Close.Code), string(f.Close.Code)), deadline)
	}
	return nil
}

func closeCode(c transport.Code) int {
	switch c {
	case transport.CodeUnavailable, transport.CodeMoved:
		return websocket.CloseServiceRestart
	case transport.CodeProtocol:
		return websocket.CloseProtocolError
	case transport.CodeTooLarge:
		return websocket.CloseMessageTooBig
	case transport.CodeInternal:
		return websocket.CloseInternalServerErr
	}
	return websocket.ClosePolicyViolation
}

func (p *pipe) Recv() (*framed.Frame, error) {
	kind, r, err := p.conn.NextReader()
	switch {
	case errors.Is(err, errControls):
		return nil, errControls
	case err != nil:
		return nil, fmt.Errorf("ws: %w", err)
	case kind != websocket.TextMessage:
		return nil, transport.Errorf(transport.CodeProtocol, "a message is not text")
	}
	b := borrow()
	defer giveBack(b)
	switch n, err := b.ReadFrom(io.LimitReader(r, p.most+1)); {
	case errors.Is(err, errControls): // they may come between the fragments of a message
		return nil, errControls
	case err != nil:
		return nil, fmt.Errorf("ws: %w", err)
	case n > p.most:
		p.drain(r)
		return nil, transport.Errorf(transport.CodeTooLarge, "a message is larger than %d bytes", p.most)
	}
	return framed.Decode(b.Bytes())
}

// drain reads on for a while: a connection that is closed on what was not read takes back what was said last.
func (p *pipe) drain(r io.Reader) {
	_ = p.conn.SetReadDeadline(time.Now().Add(drainTime)) // it may have ended
	_, _ = io.CopyN(io.Discard, r, maxMessage)
}

func (p *pipe) Close() error {
	var err error
	p.closed.Do(func() { err = p.conn.Close() })
	return err
}
