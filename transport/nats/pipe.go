package nats

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

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
	conn *nats.Conn
	// current is the connection that a goodbye goes over: one that has come after the pipe's may tell the other end.
	current func() *nats.Conn

	up     string // subject to subscribe to when the other end is trusted; empty: there is a subscription
	out    string // subject
	hello  string // subject of the first frame; empty: it has been sent, or it is the other end's
	first  *nats.Msg
	onDone func()      // releases what is under the pipe
	most   int         // bytes of a frame that comes in; of the goroutine that calls Recv
	asked  atomic.Bool // a ping of the agent's was sent, as a request
	untold atomic.Bool

	mu sync.Mutex
	in *nats.Subscription // nil: none yet, and nothing but first comes in

	ctx    context.Context // ends with the pipe; its cause says why
	cancel context.CancelCauseFunc
	once   sync.Once
}

func newPipe(conn *nats.Conn, out string) *pipe {
	p := &pipe{conn: conn, current: func() *nats.Conn { return conn }, out: out, onDone: func() {}, most: broker.MaxFrame}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// listen has what comes for a subscription come in. How much of it may wait is bounded: what is beyond that is
// dropped, and missed by its number.
func (p *pipe) listen(in *nats.Subscription) {
	_ = in.SetPendingLimits(queueLength, waiting*broker.MaxFrame) // the subscription may have ended first
	p.mu.Lock()
	defer p.mu.Unlock()
	p.in = in
}

// Trust implements framed.Guarded: it subscribes to what the other end will say, and returns when the broker has it.
func (p *pipe) Trust() error {
	if p.up == "" {
		return nil
	}
	in, err := p.conn.SubscribeSync(p.up)
	if err != nil {
		return p.failed(err)
	}
	p.listen(in)
	if p.ctx.Err() != nil { // Close may have come before listen
		_ = in.Unsubscribe() // twice is once
		return p.failed(context.Cause(p.ctx))
	}
	ctx, cancel := context.WithTimeout(p.ctx, flushTimeout)
	defer cancel()
	if err := p.conn.FlushWithContext(ctx); err != nil {
		return p.failed(err)
	}
	p.most = broker.MaxFrame
	return nil
}

// subscription is where messages come from; nil before Trust.
func (p *pipe) subscription() *nats.Subscription {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.in
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
		return p.failed(p.conn.PublishRequest(subject, p.subscription().Subject, b.Bytes()))
	}
	if f.Ping && p.up == "" { // an agent's: the broker says where nobody is subscribed to it
		p.asked.Store(true)
		return p.failed(p.conn.PublishRequest(p.out, p.subscription().Subject, b.Bytes()))
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
	in := p.subscription()
	if in == nil { // the first was but a part
		return nil, transport.Errorf(transport.CodeProtocol, "a hello is to be one message")
	}
	m, err := in.NextMsgWithContext(p.ctx)
	switch {
	case err == nil:
		return m, nil
	case errors.Is(err, nats.ErrNoResponders) && p.asked.Load():
		return nil, errGone
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
func (p *pipe) Goodbye() error { return p.current().Publish(p.out, nil) }

// Untold is true where Close could not tell the other end.
func (p *pipe) Untold() bool { return p.untold.Load() }

// Close tells the other end, if it can be told.
func (p *pipe) Close() error {
	p.once.Do(func() {
		p.cancel(errClosed)
		p.untold.Store(p.Goodbye() != nil)
		if in := p.subscription(); in != nil {
			_ = in.Unsubscribe() // the connection may have ended first
		}
		p.onDone()
	})
	return nil
}

var errClosed = errors.New("nats: the pipe is closed")
