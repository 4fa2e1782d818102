// Package controller is what a controller team embeds: it keeps commands in a ledger, hands them
// to the VMs' links, and records what becomes of them.
//
// A [Controller] is a transport.Transport: an agent in the same process may dial it directly, and
// the server half of any adapter takes it to serve it over a network. It is safe for concurrent
// use, and no VM waits for another.
package controller

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unique"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/event"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// Options are optional; the zero value of each field means its default.
type Options struct {
	// Log gets what an operator wants to know; parameters of commands are never in it. Default: none.
	Log *slog.Logger

	// AckDeadline is how long to wait for a word on a delivered command before delivering it
	// again. Any ack of the command starts it anew. Default: 30 s.
	AckDeadline time.Duration

	// MaxAttempts is how many deliveries of a command may arrive without an answer, though the agent could have given one,
	// before it is given up as dead, with the code exhausted; and how many links that worked its delivery may end before it
	// is, with the code undeliverable. A delivery that may not have arrived counts for neither. Any answer starts both anew,
	// and what has started, or was deferred, is given up for neither: only when its VM is gone, or by Settle. Default: 10.
	MaxAttempts int

	// Lease is how long a VM counts as online after its last sign of life when no link of its is
	// open. Default: 30 s.
	Lease time.Duration

	// Window is the most commands in flight per VM; an agent may ask for fewer. Default: 64.
	Window int

	// Limits bound what may wait for one VM. Default: 1,000 commands and 16 MiB of parameters.
	Limits ledger.Limits

	// Access bounds what VMs may ask. Default: see there.
	Access Access

	// Retention is how long settled commands are remembered, and VMs that are offline. Default: 7 days; less
	// than 0: for ever.
	Retention time.Duration

	// Absence is how long a VM may be absent before it counts as gone: its commands end then, with the code vm_gone, as
	// dead where they have not begun and as interrupted where they have. It is counted from the last sign of life, from
	// a command's last change of stage where that is later, and over restarts, though after one no VM counts as gone for
	// a seventh of it: those that are there come back first. Default: 7 days; less than 0: for ever.
	Absence time.Duration

	// Redact says what the ledger keeps of the parameters of a command once it is settled; until then it keeps
	// all, or it could not deliver it again. Receipts, Get and List then return what is kept. Default:
	// command.DropSecrets: types of one's own are declared, by command.Declare, and of others no more than the names of
	// parameters is kept. It must do what ledger.Redact says.
	Redact func(command.Type, command.Parameters) command.Parameters

	// LinkLifetime ends each link, to be dialled anew at once, at a random point between half of it
	// and the whole, so that links spread over replicas again after a restart. Default: no end.
	LinkLifetime time.Duration

	// OnEvent takes the events and heartbeats of VMs. The agent is told that an event was taken
	// once OnEvent has returned nil. It is called by many goroutines at a time.
	OnEvent func(ctx context.Context, vm string, e event.Event) error
}

func (o Options) withDefaults() Options {
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("component", "controller")
	def(&o.AckDeadline, 30*time.Second)
	def(&o.Lease, 30*time.Second)
	def(&o.Retention, 7*24*time.Hour)
	def(&o.Absence, 7*24*time.Hour)
	if o.MaxAttempts <= 0 {
		o.MaxAttempts = 10
	}
	if o.Window <= 0 {
		o.Window = 64
	}
	o.Access = o.Access.withDefaults()
	if o.Limits.Commands == 0 {
		o.Limits.Commands = 1000
	}
	if o.Limits.Bytes == 0 {
		o.Limits.Bytes = 16 << 20
	}
	return o
}

// Controller sends commands to VMs. Make one with New, end it with Shutdown or Close.
type Controller struct {
	opts   Options
	ledger *gate
	log    *slog.Logger
	peers  *peerlog.Log // lines that a VM can cause; all others go to log
	began  time.Time    // the meters' beginning

	mu    sync.RWMutex
	boxes map[string]*mailbox // by VM; of every VM that has dialled and is not forgotten

	dialing sync.Mutex
	dials   meter // of all VMs; guarded by dialing

	leases  *leases
	waiters waiters
	watch   hub
	sweeper *sweeper

	stopping atomic.Bool
	links    *linkSet
}

// New starts a controller on a ledger. The controller does not close the ledger; nothing else may
// write to it until Shutdown or Close has returned.
func New(l ledger.Ledger, o Options) *Controller {
	o = o.withDefaults()
	if o.Redact != nil {
		l.Redact(o.Redact)
	}
	c := &Controller{
		opts:   o,
		ledger: &gate{Ledger: l},
		log:    o.Log,
		peers:  peerlog.New(o.Log),
		began:  time.Now(),
		boxes:  map[string]*mailbox{},
		leases: newLeases(o.Lease),
		links:  newLinkSet(),
	}
	c.waiters.init()
	c.watch.init()
	c.sweeper = startSweeper(c)
	return c
}

// Shutdown ends the links one by one, at random times within spread, and tells each agent to come
// back after a random part of it; new links and commands are refused as unavailable from now on.
// It returns when the last link has been closed, or with ctx's error, ending what is left. Then the
// controller has let go of the ledger.
func (c *Controller) Shutdown(ctx context.Context, spread time.Duration) error {
	if c.stopping.Swap(true) {
		return c.links.wait(ctx)
	}
	var timers []*time.Timer
	for _, l := range c.links.all() {
		timers = append(timers, time.AfterFunc(jitter(spread), func() { l.end(c.goingAway(spread)) }))
	}
	err := c.links.wait(ctx)
	for _, t := range timers {
		t.Stop()
	}
	for _, l := range c.links.all() {
		l.end(c.goingAway(spread))
	}
	c.leases.stop()
	c.sweeper.stop()
	c.ledger.shut()
	c.watch.close()
	c.waiters.close()
	return err
}

// Close is Shutdown at once. It ends the links but does not wait for them to be closed. When it has
// returned nothing writes to the ledger any more, which is the caller's to close.
func (c *Controller) Close() error {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = c.Shutdown(ctx, 0)
	return nil
}

// goingAway is what a link is told at shutdown.
func (c *Controller) goingAway(spread time.Duration) *transport.Error {
	return &transport.Error{
		Code:       transport.CodeUnavailable,
		Message:    "the controller is stopping",
		RetryAfter: jitter(max(spread, time.Second)),
	}
}

// jitter is a random part of d.
func jitter(d time.Duration) time.Duration {
	if d <= 0 {
		return 0
	}
	return rand.N(d)
}

func (c *Controller) mailboxes() []*mailbox {
	c.mu.RLock()
	defer c.mu.RUnlock()
	boxes := make([]*mailbox, 0, len(c.boxes))
	for _, b := range c.boxes {
		boxes = append(boxes, b)
	}
	return boxes
}

// lookup returns the mailbox of a VM that has dialled, or nil.
func (c *Controller) lookup(vm string) *mailbox {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.boxes[vm]
}

// mailbox returns that of a VM, or nil where there may be no more of them.
func (c *Controller) mailbox(vm string) *mailbox {
	if b := c.lookup(vm); b != nil {
		return b
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.boxes[vm]
	if most := c.opts.Access.VMs; b == nil && (most < 0 || len(c.boxes) < most) {
		vm = strings.Clone(vm) // it may be part of a request, which goes
		b = &mailbox{c: c, vm: vm, via: unique.Make("")}
		c.boxes[vm] = b
	}
	return b
}
