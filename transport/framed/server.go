package framed

import (
	"context"
	"errors"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/outlet"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// handshake is how long an agent may take to say hello.
const handshake = 10 * time.Second

// ServeOptions are optional, but for Name.
type ServeOptions struct {
	Name string // of the adapter, for Hello.Via

	// VM is whom the credentials, or the path, are for: a hello for another is forbidden. Empty leaves
	// it to the hello, and to Authenticate.
	VM string

	// Authenticate lets the VM of a hello pass, by the hello's token or by what else is known of the peer, or
	// says why not: as an error that may be told. The link ends with the grant. Default: everybody passes.
	Authenticate func(ctx context.Context, vm, token string) (transport.Grant, error)

	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Both ends keep to it. Default: DefaultKeepalive.
	Keepalive time.Duration

	// Prompt means that the pipe's Send waits for nobody while few bytes are under way, so that who sends a
	// command may be the one to write it.
	Prompt bool
}

// Serve carries a link of t over p until it ends, and returns why. It closes p, and leaves no
// goroutine.
func Serve(ctx context.Context, p Pipe, t transport.Transport, o ServeOptions) error {
	s, err := Accept(ctx, p, t, o)
	if err != nil {
		return err
	}
	return s.Run()
}

// Accept is the beginning of Serve, up to the welcome. The rest is Run, or Start. If it fails, p is closed.
func Accept(ctx context.Context, p Pipe, t transport.Transport, o ServeOptions) (*Session, error) {
	s := newSession(ctx, p, &o)
	if err := safely.Do(func() error { return s.accept(s.ctx, t, o) }); err != nil {
		s.stop(err)
		<-s.done
		if s.link != nil {
			s.link.Close()
		}
		s.rest()
		s.unwatch()
		s.cancel()
		return nil, s.reason()
	}
	return s, nil
}

// Attach is Accept where the hello came another way, with the request for the pipe, and the welcome goes likewise:
// link is what it came to. Of the options Keepalive and Prompt count.
func Attach(ctx context.Context, p Pipe, link transport.Link, grant transport.Grant, o ServeOptions) *Session {
	s := newSession(ctx, p, &o)
	s.link = link
	s.begin(grant, o.Keepalive)
	return s
}

func newSession(ctx context.Context, p Pipe, o *ServeOptions) *Session {
	if o.Keepalive == 0 {
		o.Keepalive = DefaultKeepalive
	}
	s := &Session{end: newEnd(p), prompt: o.Prompt, quick: true}
	s.crew.Engage(&s.mu, s.done, s.stop)
	s.recorder.Do, s.taker.Do = s.record, s.take
	s.ctx, s.cancel = context.WithCancel(ctx)
	s.unwatch = context.AfterFunc(ctx, func() { s.stop(context.Cause(ctx)) })
	return s
}

// begin looks after the peer from now on.
func (s *Session) begin(grant transport.Grant, keepalive time.Duration) {
	s.watch(keepalive, keepalive*5/4) // the agent asks first: one ping and one pong do for both
	if !grant.Expires.IsZero() {
		s.expiry = time.AfterFunc(time.Until(grant.Expires), func() { s.stop(grant.Over()) })
	}
}

// Session is a link that Accept or Attach has opened.
type Session struct {
	*end
	ctx     context.Context // of calls of the link
	cancel  context.CancelFunc
	unwatch func() bool // of the context of Accept
	link    transport.Link
	prompt  bool
	expiry  *time.Timer // of the credentials; nil: never

	crew            outlet.Crew
	recorder, taker outlet.Hand
	out             outlet.Outlet
	seen            witness

	// guarded by end.mu
	acks      []numbered[ack.Ack] // not recorded yet
	events    []numbered[event.Event]
	waiting   int  // bytes of acks and events
	recording bool // somebody is
	quick     bool // to record took no longer than waking another goroutine for it
}

// numbered is the content of one frame.
type numbered[T any] struct {
	n     uint64
	items []T
	size  int // of the items, in bytes
}

// full says whether nothing more is to be read for now.
func (s *Session) full(frames int) bool {
	return (frames >= maxQueued || s.waiting > maxQueuedBytes) && s.err == nil
}

// accept does the handshake. It returns nil only with a link.
func (s *Session) accept(ctx context.Context, t transport.Transport, o ServeOptions) error {
	noHello := transport.Errorf(transport.CodeProtocol, "no hello within %s", handshake)
	late := time.AfterFunc(handshake, func() { s.stop(noHello) })
	f, err := s.recvAny() // a stranger's pings are not answered
	if !late.Stop() && err != nil {
		return noHello // reason would be nil for as long as the peer takes to read that
	}
	if errors.Is(err, errLost) { // nothing can have been lost before the first
		return transport.Errorf(transport.CodeProtocol, "the first frame's number is not 1")
	}
	if err != nil {
		return err
	}
	if f.Hello == nil {
		return transport.Errorf(transport.CodeProtocol, "the first frame is no hello")
	}
	if f.Hello.Version < 1 {
		return transport.Errorf(transport.CodeProtocol, "hello names no version")
	}
	hello := f.Hello.Hello
	if hello.VM == "" {
		hello.VM = o.VM
	}
	if o.VM != "" && hello.VM != o.VM {
		return transport.Errorf(transport.CodeForbidden, "hello is for another VM than the link")
	}
	if err := transport.ValidateVM(hello.VM); err != nil {
		return err
	}
	var grant transport.Grant
	if o.Authenticate != nil {
		if grant, err = o.Authenticate(ctx, hello.VM, f.Hello.Token); err != nil {
			return err
		}
	}
	if len(hello.Instance) > transport.MaxVM || len(hello.Via) > transport.MaxVM || len(hello.After) > transport.MaxCursor || hello.Window < 0 {
		return transport.Errorf(transport.CodeInvalid, "hello holds a value out of range")
	}
	hello.AddHop(o.Name)
	link, err := t.Dial(ctx, hello)
	if err != nil {
		return err
	}
	if link == nil {
		return errNoLink
	}
	s.link = link // which whoever called closes from now on
	if p, ok := s.pipe.(Guarded); ok {
		if err := p.Trust(); err != nil {
			s.link.Close() // nobody has heard of it yet
			return err
		}
	}
	welcome := &Welcome{Version: min(f.Hello.Version, Version), Keepalive: o.Keepalive.Seconds()}
	if err := s.send(&Frame{Welcome: welcome}); err != nil {
		return err
	}
	s.begin(grant, o.Keepalive)
	return nil
}

// Run carries the link until it ends, and returns why. It or Start must be called.
func (s *Session) Run() error {
	if err := safely.Do(func() error {
		s.open()
		for s.read() {
		}
		return nil
	}); err != nil {
		s.stop(err)
	}
	return s.finishUp()
}

// Start is Run in a goroutine of its own, and calls over with what Run returns. Where the pipe is a Resting that
// goroutine goes while nothing comes.
func (s *Session) Start(over func(error)) {
	go func() {
		if err := safely.Do(func() error { s.open(); return nil }); err != nil {
			s.stop(err)
		}
		s.carry(over)
	}()
}

// carry reads while something comes. It is the root of its goroutine: where the pipe rests, another begins here later.
func (s *Session) carry(over func(error)) {
	rests := false
	if err := safely.Do(func() error {
		rests = s.readUntilRest(func() { s.carry(over) })
		return nil
	}); err != nil {
		s.stop(err)
	}
	if !rests {
		over(s.finishUp())
	}
}

// readUntilRest returns true when the pipe rests and will call wake, and false at the end of the link.
func (s *Session) readUntilRest(wake func()) (rests bool) {
	resting, ok := s.pipe.(Resting)
	for !ok || !resting.Rest(wake) {
		if !s.read() {
			return false
		}
	}
	return true
}

func (s *Session) open() {
	s.witnesses()
	s.out.Open(s.ctx, &s.crew, owner{s}, s.link, s.prompt)
}

// owner is a Session as its outlet sees it.
type owner struct{ s *Session }

func (o owner) Lock()       { o.s.mu.Lock() }
func (o owner) Unlock()     { o.s.mu.Unlock() }
func (o owner) Ended() bool { return o.s.err != nil }

func (o owner) Send(page []transport.Delivery) (written bool, err error) {
	written, err = o.s.sendFrame(&Frame{Commands: page})
	o.s.mu.Lock() // only now: a ping of meanwhile may have gone before it
	o.s.seen.handed += uint64(len(page))
	o.s.mu.Unlock()
	return written, err
}

func (o owner) Stop(err error) { o.s.stop(err) }

// work has a hand do its work, unless the link has ended. mu is locked.
func (s *Session) work(h *outlet.Hand) {
	if s.err == nil {
		s.crew.Work(h)
	}
}

// finishUp leaves nothing behind.
func (s *Session) finishUp() error {
	<-s.done
	s.unwatch()
	s.cancel()
	if s.expiry != nil {
		s.expiry.Stop()
	}
	s.stopAsking()
	_ = safely.Do(s.link.Close) // nobody waits for how it went
	s.crew.Wait()
	s.rest()
	return s.reason()
}

// read takes the next frame, and returns false at the end. What takes long goes on in others.
func (s *Session) read() bool {
	f, err := s.recv()
	if err == nil {
		if f.Pong {
			s.answered()
		}
		err = s.handle(f)
	}
	if err != nil {
		s.stop(err)
	}
	return err == nil
}

func (s *Session) handle(f *Frame) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.Hello != nil:
		return transport.Errorf(transport.CodeProtocol, "a second hello")
	case len(f.Acks) > ack.MaxBatch: // a pipe may decode frames by itself
		return transport.Errorf(transport.CodeTooLarge, "%d acks in one frame, at most %d are allowed", len(f.Acks), ack.MaxBatch)
	case f.Acks != nil:
		for s.full(len(s.acks)) {
			s.room.Wait()
		}
		size := sizes(f.Acks)
		s.waiting += size
		s.acks = append(s.acks, numbered[ack.Ack]{f.N, f.Acks, size})
		switch {
		case s.recording: // they see it
		case s.quick:
			s.recordAll()
		default:
			s.work(&s.recorder)
		}
	case f.Events != nil:
		for s.full(len(s.events)) {
			s.room.Wait()
		}
		size := sizes(*f.Events)
		s.waiting += size
		s.events = append(s.events, numbered[event.Event]{f.N, *f.Events, size})
		s.work(&s.taker)
	}
	return nil
}

// sizes is what a peer has sent, in bytes.
func sizes[T interface{ Size() int }](items []T) int {
	n := 0
	for i := range items {
		n += items[i].Size()
	}
	return n
}

// take passes on what events have come until there are none.
func (s *Session) take() {
	for {
		s.mu.Lock()
		frames := s.events
		s.events = nil
		for i := range frames {
			s.waiting -= frames[i].size
		}
		s.room.Broadcast()
		s.mu.Unlock()
		if len(frames) == 0 {
			return
		}
		for _, f := range frames {
			answer := &Taken{Of: f.n}
			if err := s.link.Report(s.ctx, f.items...); err != nil {
				if !transport.Refused(err) {
					s.stop(err)
					return
				}
				c := toWire(err)
				answer.Error = &c
			}
			if s.send(&Frame{Taken: answer}) != nil {
				return
			}
		}
	}
}
