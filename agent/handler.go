package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
)

// AfterCrash says what becomes of a command whose handler had begun when the process died.
type AfterCrash int

// The policies.
const (
	Interrupted AfterCrash = iota // report it as interrupted; whoever sent it decides
	RunAgain                      // the handler is safe to repeat
	Completed                     // that the process is back is the completion, as of shutdown
)

// Policy says how commands of one type run. The zero value is one at a time, in order, without
// asking, and interrupted after a crash.
type Policy struct {
	// Concurrent commands run at once, beside whatever else runs.
	Concurrent bool

	// Confirm asks the controller for permission: the handler runs only after the controller has
	// recorded the start, which it refuses for a command that was cancelled, has expired or was
	// superseded. Without a link the command waits for one.
	Confirm bool

	AfterCrash AfterCrash
}

// Handle declares the handler of one command type, before Run. A second handler for a type panics.
//
// The context ends when the command is cancelled (context.Cause is ErrCanceled), or when Run's
// context does. A result that is not nil is marshalled as JSON and goes with the final ack.
func Handle[P command.Params](a *Agent, h func(ctx context.Context, job *Job, p P) (any, error), policy Policy) {
	var zero P
	a.HandleRaw(zero.CommandType(), func(ctx context.Context, job *Job) (any, error) {
		p, err := command.Decode[P](job.Command())
		if err != nil {
			return nil, Reject(err.Error())
		}
		return h(ctx, job, p)
	}, policy)
}

// HandleRaw is Handle for a type that is not known at compile time; Job.Command has the parameters.
func (a *Agent) HandleRaw(t command.Type, h func(ctx context.Context, job *Job) (any, error), policy Policy) {
	if err := t.Validate(); err != nil {
		panic("agent: " + err.Error())
	}
	if t == command.TypeCancel {
		panic("agent: cancel is handled by the agent itself")
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ran {
		panic("agent: Handle after Run")
	}
	if _, ok := a.handlers[t]; ok {
		panic(fmt.Sprintf("agent: a second handler for %q", t))
	}
	a.handlers[t] = &handler{do: h, policy: policy}
}

type handler struct {
	do     func(ctx context.Context, job *Job) (any, error)
	policy Policy
}

// call turns a panic into an error; the stack goes to the log. A handler that ends its goroutine, by
// runtime.Goexit, does not return here either: others go on.
func (h *handler) call(ctx context.Context, job *Job) (result any, err error) {
	returned := false
	defer func() {
		if p := recover(); p != nil {
			job.a.log.Error("handler panicked", "command_id", job.t.ID, "type", job.t.Type, "panic", fmt.Sprint(p), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
		} else if !returned {
			job.a.abandoned(job.t)
		}
	}()
	result, err = h.do(ctx, job)
	returned = true
	return result, err
}

// ErrCanceled is the cause of a handler's context that ended because the command was cancelled.
var ErrCanceled = errors.New("the command was cancelled")

// errStopping is the cause of a handler's context that ended because the agent stops.
var errStopping = errors.New("the agent is stopping")

type rejection struct{ reason string }

func (r *rejection) Error() string { return r.reason }

// Reject is for a handler to return: the command was not carried out and never will be.
func Reject(reason string) error { return &rejection{reason} }

type retryLater struct {
	after  time.Duration
	reason string
}

func (r *retryLater) Error() string { return fmt.Sprintf("retry after %s: %s", r.after, r.reason) }

// RetryLater is for a handler to return: not now; try again, but not before after has passed (at
// most ack.MaxRetryAfter). The command keeps its place: later ones wait, unless they are of a
// concurrent type.
func RetryLater(after time.Duration, reason string) error {
	return &retryLater{min(max(after, 0), ack.MaxRetryAfter), reason}
}

// Job is one run of a handler. Its methods are safe for concurrent use while the handler runs.
type Job struct {
	a       *Agent
	t       *task
	attempt int
}

// Command is what is to be done.
func (j *Job) Command() command.Command { return j.t.Command }

// Attempt counts deliveries and retries, from 1.
func (j *Job) Attempt() int { return j.attempt }

// Progress tells the controller how far the handler has come. It queues the report and returns; of
// several that wait the latest is sent. The result, if not nil, is marshalled as JSON.
func (j *Job) Progress(reason string, result any) error {
	raw, err := marshalResult(result)
	if err != nil {
		return err
	}
	j.a.progress(j.t, ack.Ack{Stage: ack.Progress, Reason: shorten(reason), Result: raw})
	return nil
}

// Finally has f called once the controller has recorded the outcome, for what ends the process: a
// reboot, an exit. If the process ends before that, f is not called.
func (j *Job) Finally(f func()) {
	j.a.mu.Lock()
	defer j.a.mu.Unlock()
	j.t.finally = append(j.t.finally, f)
}
