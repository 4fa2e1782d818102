package framed

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

// Pipe carries frames both ways.
type Pipe interface {
	// Send sends one frame. It is called by one goroutine at a time, keeps nothing of the frame, and
	// must not block for ever on a peer that does not read. After an error the pipe is closed.
	Send(*Frame) error
	// Recv blocks for the next frame. It is called by one goroutine at a time. An error of the peer's
	// making is a *transport.Error: the peer is told.
	Recv() (*Frame, error)
	// Close unblocks Send and Recv, and waits for neither. It may be called more than once, by any
	// goroutine.
	Close() error
}

// MaxHello bounds the first frame of an agent, in bytes: nobody knows yet who says it.
const MaxHello = 64 << 10

// Guarded is a Pipe that takes little of a peer before it is told who that is: one frame of MaxHello.
type Guarded interface {
	Pipe
	// Trust is called once, by the goroutine that calls Recv: the peer's credentials are good, and the link of the
	// VM is open. From now on the peer may say what the protocol has. A pipe that has to make something first, so
	// that the peer can be heard, makes it here, and returns when it is there: the welcome is sent after Trust, and
	// nothing that answers it must be lost. An error ends the link. Close unblocks Trust, too.
	Trust() error
}

// Resting is a Pipe that tells when there is something to Recv, so that no goroutine need wait for it: the stack of one
// is most of what an idle link costs.
type Resting interface {
	Pipe
	// Rest is called by the goroutine that calls Recv. It returns false as soon as there is something to Recv, be it
	// an error. Where there was nothing for a while it returns true, and has wake called, once, in a goroutine of its
	// own, when there is: the error after Close, for one.
	Rest(wake func()) bool
}

// DefaultKeepalive is how long a peer may be silent before it is asked whether it lives.
const DefaultKeepalive = 15 * time.Second

const (
	maxKeepalive   = time.Hour // that a controller may ask an agent for
	maxQueued      = 64        // frames that wait for the pipe, or to be taken
	maxQueuedBytes = 4 << 20   // of what a peer has sent and is not taken; besides one frame

	// Frames that say nothing, pings for one, are answered or ignored: so many in this time.
	maxIdle  = 200
	idleTime = 10 * time.Second

	// answerTime is how long the answer to acks that nobody is held up by may wait for commands to go
	// with: one message less in most round trips.
	answerTime = time.Millisecond
)

var (
	errLost   = errors.New("framed: a frame was lost, repeated or out of order")
	errSilent = fmt.Errorf("framed: %w", transport.ErrSilent)
	errEnded  = errors.New("framed: the link has ended")
	errNoLink = errors.New("framed: the transport returned neither a link nor an error")
)

// end is what both halves have: the numbered ways in and out, liveness, and how it ends.
type end struct {
	pipe      Pipe
	keepalive time.Duration
	askAfter  time.Duration

	mu       sync.Mutex
	room     sync.Cond // the queue has become shorter, or the end has come
	queue    []*Frame  // wait for the pipe
	sending  bool      // somebody is writing the queue out
	sent     uint64    // number of the last frame out
	received uint64    // number of the last frame in
	heard    time.Time // of the last frame in
	idle     int       // frames in that said nothing, since
	since    time.Time
	pings    uint64 // out
	pongs    uint64 // in, that answer them
	timer    *time.Timer
	recorded *Recorded   // to be sent, with commands if there are some in time
	answerer *time.Timer // when it is sent at the latest; nil before the first
	last     *Frame      // to be sent next, and nothing after it
	parting  error       // why the link ends once last is sent
	err      error       // why it ended
	done     chan struct{}
}

func newEnd(p Pipe) *end {
	e := &end{pipe: p, done: make(chan struct{})}
	e.room.L = &e.mu
	return e
}

// send queues a frame and writes the queue, unless somebody does already. It blocks while the queue
// is full, and returns why the link has ended if it has.
func (e *end) send(f *Frame) error {
	_, err := e.sendFrame(f)
	return err
}

// sendFrame is send, and says whether the frame was written: nobody looks at it any more.
func (e *end) sendFrame(f *Frame) (written bool, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.queue) >= maxQueued && e.err == nil {
		e.room.Wait()
	}
	if e.err != nil {
		return false, e.err
	}
	e.queue = append(e.queue, f)
	written = !e.sending
	e.flush()
	return written, e.err
}

// flush writes the queue out, unless somebody does already. mu is locked, but not while writing.
func (e *end) flush() {
	if e.sending {
		return
	}
	e.sending = true
	for e.err == nil && (e.last != nil || len(e.queue) > 0) {
		f := e.next()
		e.sent++
		f.N = e.sent
		e.room.Broadcast()
		e.mu.Unlock()
		// mu is not locked here: a panic that passed would unlock it again, which ends the process.
		err := safely.Do(func() error { return e.pipe.Send(f) })
		e.mu.Lock()
		switch {
		case err != nil:
			e.finish(err)
		case f == e.last:
			e.finish(e.parting)
		}
	}
	if len(e.queue) == 0 {
		e.queue = nil
	}
	e.sending = false
	e.room.Broadcast()
}

// rest waits, after the end, until nobody writes to the pipe any more: a timer's goroutine may.
func (e *end) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for e.sending {
		e.room.Wait()
	}
}

// next takes the next frame out of the queue. mu is locked.
func (e *end) next() *Frame {
	if e.last != nil {
		if e.recorded != nil { // what was done counts, also at the end
			return &Frame{Recorded: e.takeRecorded()}
		}
		return e.last
	}
	f := e.queue[0]
	e.queue[0] = nil
	e.queue = e.queue[1:]
	if f.Commands != nil {
		f.Recorded = e.takeRecorded()
	}
	return f
}

func (e *end) takeRecorded() *Recorded {
	r := e.recorded
	e.recorded = nil
	return r
}

// answer sends that acks were recorded: now, or where there is time for it with the next commands.
func (e *end) answer(r *Recorded, thereIsTime bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return
	}
	if !thereIsTime {
		for len(e.queue) >= maxQueued && e.err == nil {
			e.room.Wait()
		}
		e.recorded = nil // r is of later acks, too
		e.queue = append(e.queue, &Frame{Recorded: r})
		e.flush()
		return
	}
	armed := e.recorded != nil
	e.recorded = r
	switch {
	case armed:
	case e.answerer == nil:
		e.answerer = time.AfterFunc(answerTime, e.answerNow)
	default:
		e.answerer.Reset(answerTime)
	}
}

// answerNow is where no commands came in time.
func (e *end) answerNow() {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.recorded == nil || e.err != nil:
	case len(e.queue) >= maxQueued:
		e.answerer.Reset(answerTime)
	default:
		e.queue = append(e.queue, &Frame{Recorded: e.takeRecorded()})
		e.flush()
	}
}

// recv returns the next frame, and answers a ping.
func (e *end) recv() (*Frame, error) {
	f, err := e.recvAny()
	if err == nil && f.Ping {
		err = e.send(&Frame{Pong: true})
	}
	return f, err
}

// babbles counts a frame that says nothing, and says whether there are too many. mu is locked.
func (e *end) babbles() bool {
	if e.heard.Sub(e.since) >= idleTime {
		e.idle, e.since = 0, e.heard
	}
	e.idle++
	return e.idle > maxIdle
}

// recvAny returns the next frame, and leaves a ping unanswered.
func (e *end) recvAny() (*Frame, error) {
	f, err := e.pipe.Recv()
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	e.received++
	lost := f.N != e.received
	e.heard = time.Now()
	answers := f.Pong && e.pongs < e.pings
	if answers {
		e.pongs++
	}
	babbles := f.idle() && !answers && e.babbles()
	e.mu.Unlock()
	switch {
	case lost:
		return nil, errLost
	case babbles:
		return nil, transport.Errorf(transport.CodeRateLimited, "more than %d frames that say nothing within %s", maxIdle, idleTime)
	case f.Close != nil:
		return nil, f.Close.err()
	}
	return f, nil
}

// watch begins to look after the peer: after some silence it is asked, after twice the keepalive it is
// dead.
func (e *end) watch(keepalive, askAfter time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.keepalive, e.askAfter = keepalive, askAfter
	e.heard = time.Now()
	if e.err == nil {
		e.timer = time.AfterFunc(askAfter, e.look)
	}
}

func (e *end) look() {
	e.mu.Lock()
	silence := time.Since(e.heard)
	if e.err != nil {
		e.mu.Unlock()
		return
	}
	if silence >= 2*e.keepalive {
		e.finish(errSilent)
		e.mu.Unlock()
		return
	}
	if silence < e.askAfter {
		e.timer.Reset(e.askAfter - silence)
		e.mu.Unlock()
		return
	}
	e.timer.Reset(2*e.keepalive - silence)
	e.ping()
	e.mu.Unlock()
}

// ping asks whether the peer lives, unless the queue is full, which asks loudly enough. mu is locked.
func (e *end) ping() {
	if len(e.queue) < maxQueued {
		e.pings++
		e.queue = append(e.queue, &Frame{Ping: true})
		e.flush()
	}
}

// partingTime is how long a link that ends may take to tell the peer why.
const partingTime = time.Second

// stop ends the link for a reason of ours, soon: err says why once done is closed, and not before. A reason that is
// for the peer is told first, which takes partingTime at most. Of a panic the peer is told that something has failed.
func (e *end) stop(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	said := (*transport.Error)(nil)
	if e.err != nil || e.last != nil {
		return
	}
	switch {
	case errors.As(err, new(*safely.Panic)):
		said = transport.Errorf(transport.CodeInternal, "the controller failed")
	case !errors.As(err, &said):
		e.finish(err)
		return
	}
	c := toWire(said)
	e.last, e.parting = &Frame{Close: &c}, err
	late := time.AfterFunc(partingTime, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.finish(err)
	})
	e.flush()
	if e.err != nil {
		late.Stop()
	}
}

// finish ends the link; the first reason counts. That there is one is what says that the link has ended, so it is never
// nil. mu is locked.
func (e *end) finish(err error) {
	if e.err != nil {
		return
	}
	if err == nil {
		err = errEnded
	}
	e.err = err
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.answerer != nil {
		e.answerer.Stop()
	}
	close(e.done)
	e.room.Broadcast()
	e.pipe.Close()
}

// reason is why the link has ended, and nil while it has not: also while it is ending.
func (e *end) reason() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}
