package agent

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/miglink/miglink/agent/internal/journal"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/clock"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/transport"
)

// Agent receives and runs the commands of one VM. Make one with New, declare its handlers, then Run
// it, once. It is safe for concurrent use.
type Agent struct {
	transport transport.Transport
	opts      Options
	clock     clock.Clock // set by Run
	log       *slog.Logger
	peers     *peerlog.Log // lines that a controller can cause; all others go to log
	out       *outbox
	journal   *journal.Journal // nil: none

	mu       sync.Mutex
	ran      bool
	stopping bool // takes nothing new
	handlers map[command.Type]*handler
	tasks    map[string]*task // held: received and not finished, by command ID
	done     *memory          // finished
	after    transport.Cursor
	instance string        // what the process is called, until another uses the name, too
	keep     time.Duration // how often to say again what is held
	link     transport.Link
	links    int           // that were opened
	relinked chan struct{} // closed when link changes
	waiting  clock.Reading // when the wait for the next page began
	late     bool          // the machine may have slept since the link was dialled

	quiet  bool // a page is worked off: what begins is not told, for it may end at once
	unsaid int  // tasks of which that is so
	turn   int  // counts the pages that what reads has taken
	lent   int  // the turn in which another may read on; 0: none

	normal, urgent, beside lane // see laneOf

	unwritten bool // something in them is not in the journal

	running  int             // handlers, but of abandoned runs
	alone    bool            // one of them is of an exclusive command
	handling context.Context // of all handlers; ends when the agent stops
	working  int             // goroutines that run handlers, but of abandoned runs, and Finally functions
	rested   chan struct{}   // closed when there are none; nil unless somebody waits

	abandoned int // runs that were, and whose handlers have not returned
	told      told

	ended chan struct{} // closed when Run returns
}

// New makes an agent that dials t.
func New(t transport.Transport, o Options) (*Agent, error) {
	if t == nil {
		return nil, errors.New("agent: no transport")
	}
	o, err := o.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Agent{
		transport: t,
		opts:      o,
		log:       o.Log,
		peers:     peerlog.New(o.Log),
		out:       newOutbox(),
		instance:  o.Instance,
		handlers:  map[command.Type]*handler{},
		tasks:     map[string]*task{},
		done:      newMemory(o.Remember),
		relinked:  make(chan struct{}),
		ended:     make(chan struct{}),
	}, nil
}

// Instance is what the agent calls its process. It takes another name where it finds that a process elsewhere has the same,
// as that of a VM that was cloned while the agent ran.
func (a *Agent) Instance() string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.instance
}

// Connected says whether a link is open now.
func (a *Agent) Connected() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link != nil
}

// Run dials the controller and runs its commands until ctx ends, and then returns nil: handlers get
// StopGrace to return, and what they have done is acknowledged if the link allows it. It returns an
// error if the journal cannot be opened, or if the controller says to stop for good: ErrSuperseded (a
// newer instance of the VM has taken over), ErrRevoked (the VM was forgotten, or its credentials will never be good again).
// The process should then exit with a status after which its supervisor does not start it again.
//
// When Run returns no goroutine of the agent is left, but for a handler that does not return within
// StopGrace, or whose run was abandoned.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.ran {
		a.mu.Unlock()
		return errors.New("agent: Run was called before")
	}
	a.ran = true
	handling, stopHandlers := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHandlers(nil)
	a.handling, a.clock = handling, clock.From(ctx)
	a.mu.Unlock()
	defer close(a.ended)
	if err := a.restore(); err != nil {
		return err
	}

	links, unlink := context.WithCancel(context.WithoutCancel(ctx))
	defer unlink()
	linked := make(chan error, 1)
	go func() { linked <- a.keepLinked(links) }()

	var err error
	select {
	case err = <-linked:
		close(linked)
	case <-ctx.Done():
	}
	a.windDown(stopHandlers)
	unlink()
	if late := <-linked; err == nil {
		err = late
	}
	if a.journal != nil {
		err = errors.Join(err, a.journal.Close())
	}
	return err
}

// windDown lets handlers return and their acks be recorded, each for StopGrace at most.
func (a *Agent) windDown(stopHandlers context.CancelCauseFunc) {
	a.mu.Lock()
	a.stopping = true
	a.mu.Unlock()
	stopHandlers(errStopping)
	grace := time.NewTimer(a.opts.StopGrace)
	defer grace.Stop()
	select {
	case <-a.atRest():
	case <-grace.C:
		a.log.Warn("a handler did not return in time")
		return
	}
	if !a.Connected() {
		return
	}
	grace.Reset(a.opts.StopGrace)
	select {
	case <-a.out.emptied():
	case <-grace.C:
		a.log.Warn("acks are left to be sent; a journal keeps them for the next start")
		return
	}
	select { // what was to be done finally
	case <-a.atRest():
	case <-grace.C:
	}
}

// Report sends events and heartbeats, and returns nil once the controller has taken them all. It
// waits for a link, and over the end of one, until ctx ends: an event may be taken twice. Where the
// controller has had enough for now it waits as long as it is asked to. A refusal by the controller, and the
// end of Run, are errors, and so is an event that is not valid: it would end one link after the other.
func (a *Agent) Report(ctx context.Context, events ...event.Event) error {
	for i, e := range events {
		if err := e.Validate(); err != nil {
			return transport.Errorf(transport.CodeInvalid, "event %d: %s", i, err)
		}
	}
	for {
		a.mu.Lock()
		link, changed := a.link, a.relinked
		a.mu.Unlock()
		var again <-chan time.Time
		if link != nil {
			err := link.Report(ctx, events...)
			if later := transport.RetryAfter(err); errors.Is(err, transport.ErrRateLimited) && ctx.Err() == nil {
				changed, again = nil, time.After(max(later, time.Second))
			} else if err == nil || transport.Refused(err) || ctx.Err() != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-again:
		case <-a.ended:
			return transport.ErrClosed
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (a *Agent) setLink(l transport.Link) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.link = l
	close(a.relinked)
	a.relinked = make(chan struct{})
	if l != nil {
		a.tellAbandoned()
	}
}
