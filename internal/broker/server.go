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
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

const (
	// goodbyesAtOnce is how many are said at a time: each waits for the broker, and may do so in vain.
	goodbyesAtOnce = 8
	// untoldFor is how long an end that could not be told is remembered. Later the other end has noticed the silence.
	untoldFor = time.Minute
)

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
	// Goodbye tells the other end that this one is gone, also after Fail, or says why it cannot be told.
	Goodbye() error
	// Untold is true where the other end could not be told when the pipe was closed. It may wait until what is under the
	// pipe is released, which calls Server.Go: the caller holds no lock of the Server.
	Untold() bool
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
	untold  map[FailingPipe]time.Time // pipes that have ended, and since when, whose other ends have yet to be told
	closed  bool
	running sync.WaitGroup

	door      door.Door
	Peers     *peerlog.Log // lines that a peer can cause; all others go to Log
	greetings *greetings
	state     state
}

// NewServer returns a Server of links to t.
func NewServer(t transport.Transport, o ServerOptions) *Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{t: t, o: o, Log: o.Log.With("component", o.Name), pipes: map[FailingPipe]struct{}{}, untold: map[FailingPipe]time.Time{}, greetings: newGreetings()}
	s.Peers = peerlog.New(s.Log)
	s.door = door.New(o.Authenticator, s.Peers)
	s.ctx, s.cancel = context.WithCancel(context.Background())
	return s
}

// Context ends with Close.
func (s *Server) Context() context.Context { return s.ctx }

// Go runs f in a goroutine that Close waits for, unless the server is closed. A panic of f is logged and goes no further.
func (s *Server) Go(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Go(func() { s.Guard(f) })
	}
}

// Guard calls f, which may be given what a peer has sent, and logs a panic.
func (s *Server) Guard(f func()) {
	var panicked *safely.Panic
	if err := safely.Do(func() error { f(); return nil }); errors.As(err, &panicked) {
		s.Peers.Panicked(s.ctx, "", panicked)
	}
}

// Serve answers the hello that p holds, and carries its link, in a goroutine of its own. The greeting is over when it
// was answered.
func (s *Server) Serve(r *Greeting, p FailingPipe, h Hello) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		p.Close()
		r.Drop()
		return
	}
	s.pipes[p] = struct{}{}
	s.running.Go(func() { s.Guard(func() { s.serve(r, p, h) }) })
}

func (s *Server) serve(r *Greeting, p FailingPipe, h Hello) {
	defer func() {
		untold := p.Untold() // it waits for what is under the pipe, which may want s.mu
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.pipes, p)
		if untold { // a link may notice before FailAll that its connection is lost
			s.remember(p)
		}
	}()
	known := "" // the VM, once it has shown that it is
	session, err := s.answer(r, p, h)
	if r.passed {
		known = h.VM
	}
	if err == nil {
		err = session.Run()
	}
	s.Peers.Ended(s.ctx, known, err)
}

// remember notes that the other end of a pipe has yet to be told. The caller holds s.mu.
func (s *Server) remember(p FailingPipe) {
	maps.DeleteFunc(s.untold, func(_ FailingPipe, since time.Time) bool { return time.Since(since) > untoldFor })
	s.untold[p] = time.Now()
}

// FailAll ends all links, as the connection that carried them was lost, and returns a function to be called when there is
// another: it tells the other ends, whose connections may well have lived on, and those of links that have ended before
// and could not say so.
func (s *Server) FailAll() (goodbye func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for p := range s.pipes {
		p.Fail(ErrLost)
		s.remember(p)
	}
	return func() {
		s.mu.Lock()
		lost := slices.Collect(maps.Keys(s.untold))
		clear(s.untold)
		s.mu.Unlock()
		var g errgroup.Group
		g.SetLimit(goodbyesAtOnce)
		for _, p := range lost {
			if s.ctx.Err() != nil {
				break
			}
			g.Go(func() error {
				if p.Goodbye() != nil { // this connection may be lost, too
					s.mu.Lock()
					defer s.mu.Unlock()
					s.remember(p)
				}
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
