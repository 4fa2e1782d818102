package agent

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/miglink/miglink/transport"
)

// Options configure an agent; VM is required, the zero value of each other field means its default.
type Options struct {
	VM string

	// Instance identifies this process to the controller: a newer instance of the VM fences an
	// older one. See Agent.Instance. Default: a new UUID.
	Instance string

	// Journal is a directory that survives the process, and /tmp does not. It is made if need be, when the disk has room for it,
	// is for one agent at a time, and holds parameters of commands, until an hour after they have finished at the
	// latest, so only its owner may read it.
	// Default: none; then what is in progress when the process dies is reported as interrupted by
	// the next, if the controller knows that it had started, and run again otherwise.
	Journal string

	// JournalLimit bounds the journal, in bytes. A command that alone exceeds it is rejected; others that it has no room
	// for, or whose disk is full, are deferred with ack.CodeNoDisk until there is room. Beside it the journal keeps 256 KiB of
	// the disk, for what is said of commands that are held. Default: 64 MiB.
	JournalLimit int64

	// Window is the most commands to hold at a time. Default: the controller's.
	Window int

	// Remember is how many finished commands are remembered, to answer for them without running
	// them again. Default: 10,000.
	Remember int

	// BackoffInitial and BackoffMax bound the wait before dialling again: a random part of a bound
	// that doubles from the one to the other. Defaults: 500 ms and 30 s.
	BackoffInitial, BackoffMax time.Duration

	// DialTimeout bounds one attempt. Default: 30 s.
	DialTimeout time.Duration

	// StopGrace is how long handlers may take to return once Run's context has ended, and acks to
	// be recorded after that. A dial that is under way is waited for, too, for a second. Default: 5 s.
	StopGrace time.Duration

	// RunGrace is how long a handler may take to return once its run has lasted as long as it may and its context has ended;
	// then the run is abandoned, see Policy.RunTimeout. At most a day. Default: 10 s.
	RunGrace time.Duration

	// Log gets what an operator wants to know; parameters are never in it. Default: none.
	Log *slog.Logger
}

// maxRunGrace is so that what is said of the end of a run fits ack.MaxEndsIn.
const maxRunGrace = 24 * time.Hour

func (o Options) withDefaults() (Options, error) {
	if err := transport.ValidateVM(o.VM); err != nil {
		return o, err
	}
	if o.Window < 0 || o.Remember < 0 || o.JournalLimit < 0 || o.BackoffInitial < 0 || o.BackoffMax < 0 || o.DialTimeout < 0 || o.StopGrace < 0 {
		return o, errors.New("agent: an option is negative")
	}
	if o.RunGrace < 0 || o.RunGrace > maxRunGrace {
		return o, fmt.Errorf("agent: RunGrace is %s, 0 to %s are allowed", o.RunGrace, maxRunGrace)
	}
	if o.Instance == "" {
		o.Instance = uuid.Must(uuid.NewV7()).String()
	}
	if o.JournalLimit == 0 {
		o.JournalLimit = 64 << 20
	}
	if o.Remember == 0 {
		o.Remember = 10_000
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&o.BackoffInitial, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
	def(&o.DialTimeout, 30*time.Second)
	def(&o.StopGrace, 5*time.Second)
	def(&o.RunGrace, 10*time.Second)
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("component", "agent", "vm_id", o.VM)
	return o, nil
}
