// Package transport is what every way between a controller and an agent has in common.
//
// A [Link] is one VM's attachment to its controller: commands come down, acks and events go up.
// A [Transport] dials Links. The controller itself is a Transport: in-process, zero hops. An
// adapter (transport/ws, transport/sse, …) carries a Transport across a network: its server half
// takes a Transport and its client half is one. So they compose, as http.Handler and
// http.RoundTripper do: a relay is one adapter's server half in front of another's client half,
// [Fallback] is a Transport made of several, and so is [Split].
//
// Reliability lives at the two ends, the controller and the agent, and never in between: an adapter
// makes one attempt, never retries, buffers no more than the window, and starts no goroutine that
// outlives its link. Where it cannot tell what became of something, it ends the link; the next Dial
// resumes at the cursor.
package transport

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
)

// Transport opens links to a controller. It is safe for concurrent use.
type Transport interface {
	// Dial makes one attempt to open a link and never retries. The context bounds the attempt, not
	// the link. An error that the peer said is an *Error; any other is what was inferred.
	Dial(ctx context.Context, hello Hello) (Link, error)
}

// Link is one attachment of one VM. All methods may be called at the same time, but Receive by one
// goroutine at a time. An error from any method but a refusal by Ack or Report (see [Refused])
// means that the link has ended, or is about to: close it and dial again.
type Link interface {
	// Receive blocks until commands are due and returns them in order, at least one. It never
	// hands out more than the window agreed in Hello allows. Where ctx ends first, it returns
	// ctx's error, nothing is lost and the link lives.
	Receive(ctx context.Context) ([]Delivery, error)

	// Ack returns nil once the controller has recorded every ack, and never before. Acks are
	// idempotent: one whose fate is unknown is sent again, on this link or another. If some are
	// refused, the others are recorded all the same and the error is an AckErrors.
	Ack(ctx context.Context, acks ...ack.Ack) error

	// Report sends events and heartbeats; nil means that the controller has taken them all. Without
	// any it says that the VM is alive.
	Report(ctx context.Context, events ...event.Event) error

	// Close ends the link, unblocks every call and waits for the link's goroutines. It may be
	// called more than once, and from several goroutines.
	Close() error
}

// Prover is a Link at an agent that knows whether anything has come over it since its welcome, be it a sign of life. That it
// was opened, and has not ended yet, says little: something in between may let an upgrade pass, and nothing after it.
type Prover interface {
	Link

	// Proven says whether anything has come.
	Proven() bool
}

// Pusher is a Link that says when there is something to receive, so that whoever serves it to a peer
// needs no goroutine that waits in Receive, which is much of what an idle link costs. The controller's
// own links are Pushers; any other Link is served all the same.
type Pusher interface {
	Link

	// Push has due called once at first, and then whenever commands may have become due, or the link
	// has ended. It may be called by several goroutines at a time. It must return at once and call
	// nothing of the link, but where now is set: then the caller waits for it, and has a small command that
	// is the only one under way, so that nothing is gained by waiting for others to go with. Receive must
	// not be called any more.
	Push(due func(now bool))

	// Take is Receive without waiting: it adds what is due to a page, which may be nothing. Where it leaves
	// some, due is called.
	Take(page []Delivery) ([]Delivery, error)
}

// Witness is a Link that wants to know which of the commands that it has handed out have arrived at the agent. A server half
// tells it, where the way back shows that. The controller's own links are Witnesses; without being told they take what is
// not answered for what may not have arrived.
type Witness interface {
	Link

	// Ask has ask called when the link wants to know. A server half that can then has its peer answer something that it
	// sends after what was handed out so far. Ask is called before anything else, and ask by whoever calls Take or Receive.
	Ask(ask func())

	// Arrived says that the first n deliveries of all that were handed out have arrived, as an answer shows that has come
	// back by the way that acks come: 0 is that something has, after the welcome.
	Arrived(n uint64)
}

// Voucher is a Link at an agent that tells the controller, with its signs of life, what has arrived that the agent has had
// time to answer: not while it has acks that are not recorded, since they may be about that.
type Voucher interface {
	Link

	// Unsaid has others asked, too, whether there are such acks: those that go another way. It is called before anything else.
	Unsaid(others func() bool)
}

// Direct is a Link at an agent that needs no goroutine between the network and a handler, nor between a
// handler and the network. Each would have to be woken, which takes longer than a short command does. Any
// other Link is served all the same.
type Direct interface {
	Link

	// Deliver has take called with what Receive would return, in the same order, by the goroutine that
	// reads from the network. It is called before anything else; Receive then waits for the end. Nothing
	// is read while take goes on: one that may take long calls ReadOn.
	Deliver(take func([]Delivery))

	// ReadOn has another goroutine read while one is in take, which is the caller's from then on: Close
	// does not wait for it. The next call of take may come at once.
	ReadOn()

	// Post is Ack without waiting, and keeps acks: done is called once, with the answer or why the link has
	// ended. It may be called before Post returns. Nothing is read while it goes on. What is posted in take may leave
	// only when take returns, or ReadOn is called.
	Post(acks []ack.Ack, done func(error))
}

// Hello is what an agent says when it dials.
type Hello struct {
	// VM is the identity; a server half binds it to the credentials.
	VM string `json:"vm_id"`

	// Instance is one per agent process. A newer instance of a VM fences an older one; an empty
	// one, of an agent that knows no instances, takes over and is never fenced for good.
	Instance string `json:"instance,omitempty"`

	// After is the resume point: the Cursor of the last Delivery that arrived. What came after it
	// is delivered again. Empty means everything unsettled.
	After Cursor `json:"after,omitempty"`

	// Window is the most unsettled commands that the agent wants in flight; 0 leaves it to the
	// controller. Urgent commands are not held back by it.
	Window int `json:"window,omitempty"`

	// Uplink is a link for acks and events only: it attaches nothing and supersedes nothing, and
	// its Receive blocks until the link ends.
	Uplink bool `json:"uplink,omitempty"`

	// Alive promises that the controller hears of this VM at least this often while the link is
	// open: any call on any of its links counts, also a Report without events. After more than
	// twice as long in silence the controller ends the link. Zero promises nothing: an adapter that
	// notices a dead peer by itself needs it not.
	Alive time.Duration `json:"-"`

	// Time is when the hello was sent, by the agent's clock; zero is not known. The client half at the agent sets it, with
	// Stamp. It is for people: nothing is decided by it.
	Time time.Time `json:"time,omitzero"`

	// Heard is what the hello shows of the hello before it, and what that has brought.
	Heard Heard `json:"-"`

	// Via is the path so far, nearest the VM first, as in "sse, ws". Each server half adds its own
	// name, with AddHop; what a client says of it is shown to people and trusted by nobody.
	Via string `json:"via,omitempty"`
}

// Heard is what a request shows, where each is a hello, of the answer to the one before. The zero value shows nothing but
// what Hello.After does.
type Heard struct {
	// Poll says that the link is one request, and that the next of the same client shows what has come of it.
	Poll bool
	// Answered says that the answer to the poll before has come. Of an uplink it says that what was sent last has come, as
	// far as After names it, and something after the welcome at that.
	Answered bool
	// Unsaid says that the agent has acks that it could not have recorded yet.
	Unsaid bool
	// NoCursor says that the client knows no cursors: that it asks again is all that it shows.
	NoCursor bool
}

// Stamp sets Time to now, unless the hello has come from another machine, as at a relay.
func (h *Hello) Stamp() {
	if h.Via == "" {
		h.Time = time.Now().UTC()
	}
}

// AddHop adds the name of a server half to the path.
func (h *Hello) AddHop(name string) {
	if h.Via != "" {
		h.Via += ", "
	}
	h.Via += name
}

// Delivery is one command on its way.
type Delivery struct {
	Cursor  Cursor `json:"cursor"`  // goes into the next Hello.After
	Attempt int    `json:"attempt"` // 1 the first time

	// Started says that an agent has reported the command as started before: an agent that does
	// not remember it must not run it again silently.
	Started bool `json:"started,omitempty"`

	// AckWithin is how long the controller waits for a word on the command before it delivers it
	// again. Any ack counts, also one that says nothing new.
	AckWithin command.Duration `json:"ack_within,omitzero"`

	// ExpiresIn is how long the command may still wait to be started, in milliseconds from when the delivery was made,
	// at least 1; 0 is for ever. It counts, not ExpiresAt: the clocks of the two machines need not agree.
	ExpiresIn uint64 `json:"expires_in,omitempty"`

	command.Command
}

// TimeLeft is ExpiresIn as a duration; false where the command does not expire.
func (d *Delivery) TimeLeft() (time.Duration, bool) {
	const most = uint64(math.MaxInt64 / time.Millisecond)
	return time.Duration(min(d.ExpiresIn, most)) * time.Millisecond, d.ExpiresIn > 0
}

// Validate says what makes d no delivery, where a peer sent it: it has no ID, or one that is too long to be
// remembered, or its cursor may not be put on a wire. What the parameters hold is for the handler to say.
func (d *Delivery) Validate() error {
	switch {
	case d.ID == "":
		return errors.New("the controller sent a command without an ID")
	case len(d.ID) > command.MaxIDLength:
		return fmt.Errorf("the controller sent a command with an ID of %d bytes, at most %d are allowed", len(d.ID), command.MaxIDLength)
	case !d.Cursor.Valid():
		return fmt.Errorf("the controller sent command %.64q with a cursor that is none", d.ID)
	}
	return nil
}

// Cursor is a resume point. It is opaque to agents and adapters: printable ASCII without spaces, at
// most MaxCursor bytes. A cursor of another ledger, or one that makes no sense, means "from the
// start"; it is never an error.
type Cursor string

// MaxDeliveries bounds those of one message: no controller sends as many at a time, and an empty one takes a hundred
// times as much in memory as on a wire.
const MaxDeliveries = 4096

// MaxCursor bounds a Cursor, in bytes.
const MaxCursor = 128

// Valid says whether c may be put on a wire.
func (c Cursor) Valid() bool {
	if len(c) > MaxCursor {
		return false
	}
	for i := range len(c) {
		if c[i] <= ' ' || c[i] > '~' {
			return false
		}
	}
	return true
}
