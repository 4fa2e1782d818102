package broker

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// goodbyesAtOnce is how many are said at a time: each waits for the broker, and may do so in vain.
const goodbyesAtOnce = 8

// maxGreetings is how many hellos are answered at a time: strangers may send any number.
const maxGreetings = 8192

// ServerOptions are optional, but for Name.
type ServerOptions struct {
	Name          string // of the adapter
	Authenticator transport.Authenticator
	Keepalive     time.Duration
	Log           *slog.Logger
}

// FailingPipe is a pipe that its broker can end.
type FailingPipe interface {
	framed.Pipe
	// Fail ends the pipe without a goodbye.
	Fail(error)
	// Goodbye tells the other end that this one is gone, also after Fail.
	Goodbye()
}

// Server is the links that a controller serves over one broker. It is safe for concurrent use.
type Server struct {
	t   transport.Transport
	o   ServerOptions
	Log *slog.Logger

	ctx     context.Context // ends with Close
	cancel  context.CancelFunc
	mu      sync.Mutex
	pipes   map[FailingPipe]struct{}
	closed  bool
	running sync.WaitGroup

	door      door.Door
	refusals  *door.Refusals
	greetings chan struct{} // holds one for each hello that is being answered
}

// NewServer returns a Server of links to t.
func NewServer(t transport.Transport, o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{t: t, o: o, Log: o.Log.With("component", o.Name), pipes: map[FailingPipe]struct{}{}, greetings: make(chan struct{}, maxGreetings)}
	s.door, s.refusals = door.New(o.Authenticator, s.Log), door.NewRefusals(s.Log)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Context ends with Close.
func (s *Server) Context() context.Context { return s.ctx }

// Go runs f in a goroutine that Close waits for, unless the server is closed.
func (s *Server) Go(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(f)
	}
}

// Greet begins the answer to a hello, unless there are too many of them: then it is to be dropped, and its agent
// dials again. The answer ends with done, or with that of Serve.
func (s *Server) Greet(vm string) (done func(), ok bool) {
	select {
	case s.greetings <- struct{}{}:
		return sync.OnceFunc(func() { <-s.greetings }), true
	default:
		s.refusals.Add(s.ctx, slog.String("vm_id", vm), slog.String("error", "too many dial at once"))
		return nil, false
	}
}

// Serve carries the link of a VM over p, in a goroutine of its own. The credentials are what the broker says
// of who sent the hello, whose token is added to them; greeted is called once it was answered.
func (s *Server) Serve(p FailingPipe, vm string, c transport.Credentials, greeted func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.Close()
		greeted()
		return
	}
	s.pipes[p] = struct{}{}
	s.running.Go(func() { s.serve(p, vm, c, greeted) })
}

func (s *Server) serve(p FailingPipe, vm string, c transport.Credentials, greeted func()) {
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pipes, p)
	}()
	session, err := framed.Accept(s.ctx, p, s.t, framed.ServeOptions{
		Name: s.o.Name, VM: vm, Keepalive: s.o.Keepalive,
		Authenticate: func(ctx context.Context, vm, token string) (transport.Grant, error) {
			c.Token = token
			return s.door.Enter(ctx, vm, c)
		},
	})
	greeted()
	if err == nil {
		err = session.Run()
	}
	if said := (*transport.Error)(nil); errors.As(err, &said) {
		s.Log.Info("link ended", "vm_id", vm, "code", said.Code, "error", said.Message)
	} else {
		s.Log.Debug("link ended", "vm_id", vm, "error", err)
	}
}

// FailAll ends all links, as the connection that carried them was lost, and returns a function to be
// called when there is another: it tells the other ends, whose connections may well have lived on.
func (s *Server) FailAll() (goodbye func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lost := slices.Collect(maps.Keys(s.pipes))
	for _, p := range lost {
		p.Fail(ErrLost)
	}
	return func() {
		var g errgroup.Group
		g.SetLimit(goodbyesAtOnce)
		for _, p := range lost {
			if s.ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				p.Goodbye()
				return nil
			})
		}
		_ = g.Wait() // no error
	}
}

// Close ends all links, and waits for them.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.cancel()
	s.running.Wait()
}
