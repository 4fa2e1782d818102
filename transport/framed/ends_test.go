package framed_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/ledger/memory"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// brokenPipe is the pipe of a peer that does something wrong at a step that a test picks.
type brokenPipe struct {
	in     chan *framed.Frame // closed: the peer breaks off with errBroken
	send   func(*framed.Frame) error
	recv   func(*framed.Frame)
	closed chan struct{}
	once   sync.Once
}

var errBroken = errors.New("the peer broke off")

func newBrokenPipe() *brokenPipe {
	return &brokenPipe{in: make(chan *framed.Frame, 16), closed: make(chan struct{})}
}

func (p *brokenPipe) Send(f *framed.Frame) error {
	if p.send != nil {
		return p.send(f)
	}
	return nil
}

func (p *brokenPipe) Recv() (*framed.Frame, error) {
	select {
	case f, ok := <-p.in:
		if !ok {
			return nil, errBroken
		}
		if p.recv != nil {
			p.recv(f)
		}
		return f, nil
	case <-p.closed:
		return nil, errors.New("closed")
	}
}

func (p *brokenPipe) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

// reads has Send block until the pipe is closed, as it does where a peer opens no window and reads nothing.
func (p *brokenPipe) readsNothing() {
	p.send = func(*framed.Frame) error {
		<-p.closed
		return errors.New("closed")
	}
}

func helloFrame() *framed.Frame {
	return &framed.Frame{N: 1, Hello: &framed.Hello{Version: 1, Hello: transport.Hello{VM: "vm-1"}}}
}

// TestSilentThenBroken has a peer that reads nothing say nothing until it is too late, and then break off, while the
// reason is still being told: there is no session, and the reason is that it was too late.
func TestSilentThenBroken(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]*framed.Frame{
		"breaks off": nil, "says hello": helloFrame(), "says what is no hello": {N: 1, Ping: true}, "says it with a wrong number": {N: 7},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controller.New(memory.New(), controller.Options{})
				defer c.Close()
				p := newBrokenPipe()
				p.readsNothing()
				accepted := make(chan error, 1)
				go func() {
					s, err := framed.Accept(t.Context(), p, c, framed.ServeOptions{Name: "test"})
					if err == nil {
						err = s.Run()
					}
					accepted <- err
				}()
				time.Sleep(10*time.Second + time.Millisecond) // fake: the time for a hello
				synctest.Wait()
				if last == nil {
					close(p.in)
				} else {
					p.in <- last
				}
				err := <-accepted
				require.ErrorIs(t, err, transport.ErrProtocol)
				require.ErrorContains(t, err, "no hello within 10s")
				_, known := c.Presence("vm-1")
				require.False(t, known && last == nil, "the VM is taken for online")
			})
		})
	}
}

// oddTransport is a controller's half that is broken.
type oddTransport struct {
	transport.Transport
	dial func() (transport.Link, error)
}

func (o oddTransport) Dial(context.Context, transport.Hello) (transport.Link, error) { return o.dial() }

// TestNoLink has a Transport return neither a link nor an error.
func TestNoLink(t *testing.T) {
	t.Parallel()
	p := newBrokenPipe()
	p.in <- helloFrame()
	_, err := framed.Accept(t.Context(), p, oddTransport{dial: func() (transport.Link, error) { return nil, nil }}, framed.ServeOptions{})
	require.ErrorContains(t, err, "neither a link nor an error")
}

// oddLink panics where it is told to.
type oddLink struct {
	transport.Link
	at string
}

func (l oddLink) panics(at string) {
	if l.at == at {
		panic("on purpose: " + at)
	}
}

func (l oddLink) Receive(ctx context.Context) ([]transport.Delivery, error) {
	l.panics("receive")
	return l.Link.Receive(ctx)
}

func (l oddLink) Ack(ctx context.Context, acks ...ack.Ack) error {
	l.panics("ack")
	return l.Link.Ack(ctx, acks...)
}

func (l oddLink) Report(ctx context.Context, events ...event.Event) error {
	l.panics("report")
	return l.Link.Report(ctx, events...)
}

// TestPanics has serving a peer panic at each step: that link ends, the peer is told no more than that something has
// failed, and neither the process nor whoever sends a command is touched.
func TestPanics(t *testing.T) {
	t.Parallel()
	for _, at := range []string{"authenticate", "dial", "receive", "ack", "report", "recv", "send", "encode"} {
		t.Run(at, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := controller.New(memory.New(), controller.Options{})
				defer c.Close()
				p := newBrokenPipe()
				var said []*framed.Frame
				p.send = func(f *framed.Frame) error {
					if at == "send" && f.Welcome != nil || at == "encode" && f.Commands != nil {
						panic("on purpose: " + at)
					}
					said = append(said, f)
					return nil
				}
				p.recv = func(f *framed.Frame) {
					if at == "recv" && f.Hello == nil {
						panic("on purpose: recv")
					}
				}
				to := oddTransport{dial: func() (transport.Link, error) {
					if at == "dial" {
						panic("on purpose: dial")
					}
					l, err := c.Dial(t.Context(), transport.Hello{VM: "vm-1"})
					if at == "encode" { // by whoever sends the command: the link says when something is due
						return l, err
					}
					return oddLink{l, at}, err
				}}
				o := framed.ServeOptions{Prompt: true, Authenticate: func(context.Context, string, string) (transport.Grant, error) {
					if at == "authenticate" {
						panic("on purpose: authenticate")
					}
					return transport.Grant{}, nil
				}}
				ended := make(chan error, 1)
				go func() { ended <- framed.Serve(t.Context(), p, to, o) }()
				p.in <- helloFrame()
				synctest.Wait()
				p.in <- &framed.Frame{N: 2, Acks: []ack.Ack{{CommandID: "x", Stage: ack.Received}}}
				p.in <- &framed.Frame{N: 3, Events: &[]event.Event{{Type: "x"}}}
				synctest.Wait()
				_, err := c.Send(t.Context(), "vm-1", newCommand(t))
				require.NoError(t, err)
				err = <-ended
				var panicked *safely.Panic
				require.ErrorAs(t, err, &panicked)
				require.Equal(t, "on purpose: "+at, panicked.Value)
				for _, f := range said {
					if f.Close != nil {
						require.Equal(t, transport.CodeInternal, f.Close.Code)
						require.NotContains(t, f.Close.Message, "on purpose")
					}
				}
				if strings.Contains("authenticate dial receive ack report recv", at) {
					require.NotNil(t, said[len(said)-1].Close, "the peer is not told that the link has ended")
				}
			})
		})
	}
}

func newCommand(t *testing.T) command.Command {
	t.Helper()
	cmd, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	return cmd
}
