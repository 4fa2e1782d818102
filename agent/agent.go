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
	"github.com/miglink/miglink/transport"
)

// Agent receives and runs the commands of one VM. Make one with New, declare its handlers, then Run
// it, once. It is safe for concurrent use.
type Agent struct {
	transport transport.Transport
	opts      Options
	log       *slog.Logger
	out       *outbox
	journal   *journal.Journal // nil: none

	mu       sync.Mutex
	ran      bool
	stopping bool // takes nothing new
	handlers map[command.Type]*handler
	tasks    map[string]*task // held: received and not finished, by command ID
	lane     []*task          // those that wait for their turn, the next first
	done     *memory          // finished
	after    transport.Cursor
	keep     time.Duration // how often to say again what is held
	link     transport.Link
	relinked chan struct{} // closed when link changes

	quiet  bool // a page is worked off: what begins is not told, for it may end at once
	unsaid int  // tasks of which that is so
	turn   int  // counts the pages that what reads has taken
	lent   int  // the turn in which another may read on; 0: none

	busy     bool            // one of the lane runs
	handling context.Context // of all handlers; ends when the agent stops
	working  int             // goroutines that run handlers and Finally functions
	rested   chan struct{}   // closed when there are none; nil unless somebody waits

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
		out:       newOutbox(),
		handlers:  map[command.Type]*handler{},
		tasks:     map[string]*task{},
		done:      newMemory(o.Remember),
		relinked:  make(chan struct{}),
		ended:     make(chan struct{}),
	}, nil
}

// Instance is what the agent calls its process.
func (a *Agent) Instance() string { return a.opts.Instance }

// Connected says whether a link is open now.
func (a *Agent) Connected() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.link != nil
}

// Run dials the controller and runs its commands until ctx ends, and then returns nil: handlers get
// StopGrace to return, and what they have done is acknowledged if the link allows it. It returns an
// error if the journal cannot be opened, or if the controller says to stop for good: ErrSuperseded (a
// newer instance of the VM has taken over), ErrRevoked.
//
// When Run returns no goroutine of the agent is left, but for a handler that does not return within
// StopGrace.
func (a *Agent) Run(ctx context.Context) error {
	a.mu.Lock()
	if a.ran {
		a.mu.Unlock()
		return errors.New("agent: Run was called before")
	}
	a.ran = true
	handling, stopHandlers := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopHandlers(nil)
	a.handling = handling
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
}
