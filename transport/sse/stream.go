package sse

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/tmaxmax/go-sse"

	"github.com/miglink/miglink/internal/outlet"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

var (
	typeCommand = sse.Type("command")
	typeClose   = sse.Type("close")
)

// askEvery is how often something is sent at most to have the client say that it has come.
const askEvery = time.Second

// errGone is the end of a stream whose client has gone.
var errGone = errors.New("sse: the client has gone")

// stream sends commands as they are due, and a comment where there are none for a while. Each write has a deadline
// of its own.
type stream struct {
	response  response
	keepalive time.Duration
	crew      outlet.Crew
	out       outlet.Outlet

	mu      sync.Mutex
	err     error // why it ends
	done    chan struct{}
	writing bool      // somebody is
	room    sync.Cond // nobody is any more
	wrote   time.Time
	asked   time.Time
	silence *time.Timer
}

// serveStream sends what link receives until the client has gone or ctx or the link ends, and returns why.
func serveStream(ctx context.Context, r response, link transport.Link, keepalive time.Duration) error {
	s := &stream{response: r, keepalive: keepalive, done: make(chan struct{})}
	s.room.L = &s.mu
	s.crew.Engage(&s.mu, s.done, s.stop)
	r.Header().Set("Content-Type", "text/event-stream")
	defer context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })()
	if err := s.comment("miglink"); err != nil { // tells the client that nothing in between buffers
		s.stop(err)
	}
	s.mu.Lock()
	s.silence = time.AfterFunc(keepalive, s.look)
	s.mu.Unlock()
	receiving, cancel := context.WithCancel(ctx)
	if w, ok := link.(transport.Witness); ok {
		w.Ask(s.ask)
	}
	s.out.Open(receiving, &s.crew, owner{s}, link, r.Prompt())
	gone := r.Wait(s.done)
	s.stop(errGone) // unless it has been stopped
	if gone {
		s.response.Close(true) // ends the writes
	}
	cancel()
	s.crew.Wait()
	s.end(gone)
	if gone {
		return errGone
	}
	return s.err
}

// end tells the client why the stream ends, if there is something to tell.
func (s *stream) end(gone bool) {
	s.mu.Lock()
	for s.writing {
		s.room.Wait()
	}
	s.mu.Unlock() // nobody writes any more: claim sees that it has ended
	s.silence.Stop()
	if gone {
		return
	}
	if said := (*transport.Error)(nil); errors.As(s.err, &said) {
		_ = s.sayClose(said) // the end of the stream says enough to who cannot read why
	}
	s.response.Close(false)
}

// owner is a stream as its outlet sees it.
type owner struct{ s *stream }

func (o owner) Lock()          { o.s.mu.Lock() }
func (o owner) Unlock()        { o.s.mu.Unlock() }
func (o owner) Ended() bool    { return o.s.err != nil }
func (o owner) Stop(err error) { o.s.stop(err) }

// Send sends a page.
func (o owner) Send(page []transport.Delivery) (bool, error) {
	if !o.s.claim() {
		return true, errGone
	}
	defer o.s.release()
	return true, o.s.commands(page)
}

// stop has the stream end; the first reason counts.
func (s *stream) stop(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.done)
		s.response.Interrupt()
	}
}

// claim waits until nobody writes, and has the caller do so until release. It returns false where the stream has
// ended.
func (s *stream) claim() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	for s.writing {
		s.room.Wait()
	}
	s.writing = s.err == nil
	return s.writing
}

func (s *stream) release() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.writing = false
	s.room.Broadcast()
}

// look sends a comment where nothing was sent for a while.
func (s *stream) look() {
	if !s.claim() {
		return
	}
	defer s.release()
	wait := s.keepalive - time.Since(s.wrote)
	if wait <= 0 {
		if err := s.comment("keepalive"); err != nil { // an empty one would not be sent
			s.stop(err)
		}
		wait = s.keepalive
	}
	s.silence.Reset(wait)
}

// ask sends a comment: with the next sign of life the client says that something has come, and up to which command. It is
// called by who sends pages. Where it fails the next page does, too.
func (s *stream) ask() {
	if !s.claim() {
		return
	}
	defer s.release()
	if time.Since(s.asked) < askEvery {
		return
	}
	s.asked = time.Now()
	if err := s.comment("ask"); err != nil {
		s.stop(err)
	}
}

func (s *stream) commands(page []transport.Delivery) error {
	s.begin()
	for i := range page {
		data, err := wire.Delivery(nil, &page[i])
		if err != nil {
			return err
		}
		id, err := sse.NewID(string(page[i].Cursor))
		if err != nil {
			return err
		}
		m := &sse.Message{ID: id, Type: typeCommand}
		m.AppendData(string(data))
		if _, err := m.WriteTo(s.response); err != nil {
			return err
		}
	}
	return s.response.Flush()
}

func (s *stream) comment(text string) error {
	m := &sse.Message{}
	m.AppendComment(text)
	return s.send(m)
}

// closing is the data of a close event.
type closing struct {
	Code       transport.Code `json:"code"`
	Message    string         `json:"message,omitempty"`
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds
}

func (s *stream) sayClose(e *transport.Error) error {
	data, err := wirejson.Marshal(closing{e.Code, e.Message, e.RetryAfter.Seconds()})
	if err != nil {
		return err
	}
	m := &sse.Message{Type: typeClose}
	m.AppendData(string(data))
	return s.send(m)
}

func (s *stream) send(m *sse.Message) error {
	s.begin()
	if _, err := m.WriteTo(s.response); err != nil {
		return err
	}
	return s.response.Flush()
}

func (s *stream) begin() {
	s.wrote = time.Now()
	s.response.Begin(s.wrote.Add(writeTimeout))
}
