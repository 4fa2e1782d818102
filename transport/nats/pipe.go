package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

const (
	moreHeader = "Miglink-More"
	headroom   = 512 // bytes that a message takes beside its payload
	waiting    = 8   // of the largest frames may have come and not been read yet
)

var errGone = fmt.Errorf("nats: %w", broker.ErrGone)

// pipe carries frames over two subjects.
type pipe struct {
	conn   *nats.Conn
	in     *nats.Subscription
	out    string // subject
	hello  string // subject of the first frame; empty: it has been sent, or it is the other end's
	first  *nats.Msg
	onDone func() // releases what is under the pipe
	most   int    // bytes of a frame that comes in

	ctx    context.Context // ends with the pipe; its cause says why
	cancel context.CancelCauseFunc
	once   sync.Once
}

func newPipe(conn *nats.Conn, in *nats.Subscription, out string) *pipe {
	p := &pipe{conn: conn, in: in, out: out, onDone: func() {}, most: broker.MaxFrame}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// guard has the pipe take no more than a hello until it is trusted.
func (p *pipe) guard() { p.limit(framed.MaxHello) }

// Trust implements framed.Guarded.
func (p *pipe) Trust() { p.limit(broker.MaxFrame) }

// limit bounds a frame that comes in, in bytes, and how many of them may wait: what is beyond that is dropped,
// and missed by its number.
func (p *pipe) limit(frame int) {
	p.most = frame
	_ = p.in.SetPendingLimits(queueLength, waiting*frame) // the subscription may have ended first
}

func (p *pipe) Send(f *framed.Frame) error {
	var b bytes.Buffer
	if err := framed.Encode(&b, f); err != nil {
		return fmt.Errorf("nats: %w", err)
	}
	if b.Len() > broker.MaxFrame {
		return fmt.Errorf("nats: a frame of %d bytes, at most %d are allowed", b.Len(), broker.MaxFrame)
	}
	if p.hello != "" {
		subject := p.hello
		p.hello = ""
		return p.failed(p.conn.PublishRequest(subject, p.in.Subject, b.Bytes()))
	}
	part := max(int(p.conn.MaxPayload())-headroom, 1)
	for b.Len() > part {
		m := nats.NewMsg(p.out)
		m.Header.Set(moreHeader, "1")
		m.Data = b.Next(part)
		if err := p.conn.PublishMsg(m); err != nil {
			return p.failed(err)
		}
	}
	return p.failed(p.conn.Publish(p.out, b.Bytes()))
}

func (p *pipe) Recv() (*framed.Frame, error) {
	var whole []byte
	for {
		m, err := p.next()
		if err != nil {
			return nil, err
		}
		if len(m.Data) == 0 {
			return nil, errGone
		}
		if len(whole)+len(m.Data) > p.most {
			return nil, transport.Errorf(transport.CodeTooLarge, "a frame is larger than %d bytes", p.most)
		}
		more := m.Header.Get(moreHeader) != ""
		if !more && whole == nil {
			return framed.Decode(m.Data)
		}
		if whole = append(whole, m.Data...); !more {
			return framed.Decode(whole)
		}
	}
}

func (p *pipe) next() (*nats.Msg, error) {
	if m := p.first; m != nil {
		p.first = nil
		return m, nil
	}
	m, err := p.in.NextMsgWithContext(p.ctx)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, nats.ErrNoResponders):
		return nil, errors.New("nats: no controller listens on this broker")
	}
	return nil, p.failed(err)
}

// failed says why the pipe has ended rather than how that was noticed.
func (p *pipe) failed(err error) error {
	if err == nil {
		return nil
	}
	if cause := context.Cause(p.ctx); cause != nil {
		return cause
	}
	return fmt.Errorf("nats: %w", bare(err))
}

// Fail ends the pipe; the first reason counts.
func (p *pipe) Fail(err error) { p.cancel(fmt.Errorf("nats: %w", err)) }

// Goodbye tells the other end that this one is gone, or it will notice the silence.
func (p *pipe) Goodbye() { _ = p.conn.Publish(p.out, nil) }

// Close tells the other end, if it can be told.
func (p *pipe) Close() error {
	p.once.Do(func() {
		p.cancel(errClosed)
		p.Goodbye()
		_ = p.in.Unsubscribe() // the connection may have ended first
		p.onDone()
	})
	return nil
}

var errClosed = errors.New("nats: the pipe is closed")
