package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

const (
	// MaxFrame bounds one frame, in bytes.
	MaxFrame = 2 << 20
	// waiting is how many of the largest frames may have come and not been read yet, or as many bytes: a
	// broker does not wait for us.
	waiting = 8
	// goodbyeTime is how long a pipe that ends may take to tell the other end.
	goodbyeTime  = time.Second
	goodbyePause = 10 * time.Millisecond // and longer each time
	goodbyeTries = 10
)

var (
	// ErrGone is why a pipe ends when the broker says that nobody listens at its other end.
	ErrGone = errors.New("the other end is gone")

	errClosed = errors.New("the pipe is closed")
	errFull   = errors.New("messages come faster than they are read")
)

// PipeOptions are what a broker has to do for a Pipe.
type PipeOptions struct {
	Name string // of the adapter, before each error
	// Publish sends one message to the other end; an empty one says goodbye. It returns soon after its
	// context has ended.
	Publish func(ctx context.Context, b []byte) error
	// Release frees what is under the pipe. It is called once, at the end.
	Release func()
	// Guarded has the pipe take no more than a hello until its Trust is called.
	Guarded bool
	// Open is for Trust: it makes what the other end can be heard with, and returns when the broker has it. Release
	// frees that, too, and is called after it. Nil: there is nothing to make.
	Open func(ctx context.Context) error
}

// Pipe is a framed.Pipe of messages: a frame is one, and an empty one says that the other end is gone.
type Pipe struct {
	o        PipeOptions
	ctx      context.Context // ends with the pipe; its cause says why
	cancel   context.CancelCauseFunc
	once     sync.Once
	released chan struct{}
	untold   atomic.Bool
	opening  sync.Mutex // held while Open runs; what Release frees is made by then, or never

	mu       sync.Mutex
	in       []message
	bytes    int           // of in
	maxFrame int           // bytes
	arrived  chan struct{} // holds one
}

// message is one that has come, or why it is not to be read.
type message struct {
	b   []byte
	err error
}

// perMessage is what a message takes beside its bytes, about.
const perMessage = 64

// NewPipe returns a Pipe that is to be given what comes for it with Deliver.
func NewPipe(o PipeOptions) *Pipe {
	p := &Pipe{o: o, released: make(chan struct{}), arrived: make(chan struct{}, 1), maxFrame: MaxFrame}
	if o.Guarded {
		p.maxFrame = framed.MaxHello
	}
	p.ctx, p.cancel = context.WithCancelCause(context.Background())
	return p
}

// openTime is how long the broker may take with what Open makes.
const openTime = 10 * time.Second

// Trust implements framed.Guarded.
func (p *Pipe) Trust() error {
	p.opening.Lock()
	defer p.opening.Unlock()
	if p.ctx.Err() != nil {
		return p.failed(nil)
	}
	if p.o.Open != nil {
		ctx, cancel := context.WithTimeout(p.ctx, openTime)
		defer cancel()
		if err := p.o.Open(ctx); err != nil {
			return p.failed(err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxFrame = MaxFrame
	return nil
}

// Deliver hands a message to Recv, which keeps it. It does not block.
func (p *Pipe) Deliver(b []byte) { p.deliver(len(b), func() []byte { return b }) }

// DeliverString is Deliver, and copies nothing that is too large.
func (p *Pipe) DeliverString(s string) { p.deliver(len(s), func() []byte { return []byte(s) }) }

func (p *Pipe) deliver(size int, content func() []byte) {
	p.mu.Lock()
	if p.ctx.Err() != nil { // nobody reads any more
		p.mu.Unlock()
		return
	}
	var m message
	if size > p.maxFrame {
		m.err = transport.Errorf(transport.CodeTooLarge, "a frame is larger than %d bytes", p.maxFrame)
	} else {
		m.b = content()
	}
	p.in = append(p.in, m)
	p.bytes += len(m.b) + perMessage
	full := p.bytes > waiting*p.maxFrame
	p.mu.Unlock()
	if full {
		p.Fail(errFull)
		return
	}
	select {
	case p.arrived <- struct{}{}:
	default:
	}
}

// Fail ends the pipe without a goodbye; the first reason counts.
func (p *Pipe) Fail(err error) {
	p.end(err, false)
}

// Send implements framed.Pipe.
func (p *Pipe) Send(f *framed.Frame) error {
	if p.ctx.Err() != nil {
		return p.failed(nil)
	}
	var b bytes.Buffer
	if err := framed.Encode(&b, f); err != nil {
		return p.failed(err)
	}
	if b.Len() > MaxFrame {
		return p.failed(fmt.Errorf("a frame of %d bytes, at most %d are allowed", b.Len(), MaxFrame))
	}
	if err := p.o.Publish(p.ctx, b.Bytes()); err != nil {
		if errors.Is(err, ErrGone) {
			p.Fail(err)
		}
		return p.failed(err)
	}
	return nil
}

// Recv implements framed.Pipe. At the end it returns when the other end has been told.
func (p *Pipe) Recv() (*framed.Frame, error) {
	for {
		if m, ok := p.take(); ok {
			switch {
			case m.err != nil:
				return nil, m.err
			case len(m.b) == 0:
				p.Fail(ErrGone)
			default:
				return framed.Decode(m.b)
			}
		}
		select {
		case <-p.arrived:
		case <-p.ctx.Done():
			<-p.released
			return nil, p.failed(context.Cause(p.ctx))
		}
	}
}

func (p *Pipe) take() (message, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.in) == 0 || p.ctx.Err() != nil {
		return message{}, false
	}
	m := p.in[0]
	p.in[0] = message{}
	p.in = p.in[1:]
	p.bytes -= len(m.b) + perMessage
	return m, true
}

// failed says why the pipe has ended rather than how that was noticed.
func (p *Pipe) failed(err error) error {
	if cause := context.Cause(p.ctx); cause != nil {
		err = cause
	}
	return fmt.Errorf("%s: %w", p.o.Name, err)
}

// Close implements framed.Pipe.
func (p *Pipe) Close() error {
	p.end(errClosed, true)
	return nil
}

func (p *Pipe) end(err error, goodbye bool) {
	p.once.Do(func() {
		p.cancel(err)
		go func() {
			defer close(p.released)
			defer p.o.Release()
			p.opening.Lock() // Open ends with the pipe
			defer p.opening.Unlock()
			if goodbye {
				p.untold.Store(p.Goodbye() != nil)
			}
		}()
	})
}

// Untold is true where Close could not tell the other end. It waits until that is known.
func (p *Pipe) Untold() bool {
	if p.ctx.Err() != nil {
		<-p.released
	}
	return p.untold.Load()
}

// Goodbye tells the other end, or says why it could not: then that will have to notice the silence. Some connections of a
// pool may have just been lost, and the next one is good.
func (p *Pipe) Goodbye() error {
	ctx, cancel := context.WithTimeout(context.Background(), goodbyeTime)
	defer cancel()
	var err error
	for i := range goodbyeTries {
		if err = p.o.Publish(ctx, nil); err == nil || errors.Is(err, ErrGone) {
			return nil
		}
		select {
		case <-time.After(time.Duration(i) * goodbyePause):
		case <-ctx.Done():
			return err
		}
	}
	return err
}
