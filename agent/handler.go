package agent

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/safely"
)

// AfterCrash says what becomes of a command whose handler had begun when the process died.
type AfterCrash int

// The policies.
const (
	Interrupted AfterCrash = iota // report it as interrupted; whoever sent it decides
	RunAgain                      // the handler is safe to repeat
	Completed                     // that the process is back is the completion, as of shutdown
)

// endAfterCrash is the end of a command that was begun elsewhere, by a process that is gone or another instance, and is not
// to be run here; false: it is to be.
func (p Policy) endAfterCrash(reason string) (end ack.Ack, ended bool) {
	switch p.AfterCrash {
	case Interrupted:
		return ack.Ack{Stage: ack.Interrupted, Reason: reason}, true
	case Completed:
		return ack.Ack{Stage: ack.Succeeded, Reason: "the agent is back"}, true
	case RunAgain:
	}
	return ack.Ack{}, false
}

// Policy says how commands of one type run. The zero value is one at a time, in order, without
// asking, and interrupted after a crash.
//
// Urgent commands have an order of their own: they run one at a time, beside others that run, and wait for other urgent
// ones alone, but for none that is deferred.
type Policy struct {
	// Concurrent commands run at once, beside whatever else runs.
	Concurrent bool

	// Exclusive commands run alone. When its turn has come one waits until no handler runs, and until its own has returned
	// no other begins, but urgent ones before it has begun, if it is not urgent. A run that was abandoned, see RunTimeout,
	// counts as one that has returned. Handle panics if Concurrent is set, too.
	Exclusive bool

	// RunTimeout is how long one run of a command of the type may last, command.MinRunTimeout to command.MaxRunTimeout; a
	// command may have a limit of its own, and the smaller counts. It is counted from when the handler begins, on a clock
	// that nobody sets, and anew after a deferral. Then the handler's context ends, with the cause ErrRunTimeout. A handler
	// that returns an error after that, but for one of Reject or RetryLater, ends the command as failed, with the code
	// run_timeout (ack.CodeRunTimeout).
	//
	// A handler that does not return within Options.RunGrace is abandoned: the command has failed with that code, and other
	// commands run, exclusive ones, too, though the handler may still be at work. What it returns later counts all the
	// same, but for a wish to be run later. Zero is no limit.
	RunTimeout time.Duration

	// Confirm asks the controller for permission: the handler runs only after the controller has
	// recorded the start, which it refuses for a command that was cancelled, has expired, was superseded, has ended, or
	// was started by another agent of the same VM, as after the VM was cloned; then AfterCrash decides. Without a link the
	// command waits for one.
	//
	// Without Confirm a command that came before the agent was started again asks, too, also one that had begun and runs
	// again; and so does one with a TTL where the agent cannot tell whether it is in time: in the last second, or if the
	// machine may have slept, or its clock was set, since it was sent.
	Confirm bool

	// AfterCrash is for a command that had begun when the agent died. With RunAgain a start is not refused because another
	// agent of the same VM has started it.
	AfterCrash AfterCrash
}

// Handle declares the handler of one command type, before Run. A second handler for a type panics.
//
// The context ends when the command is cancelled (context.Cause is ErrCanceled), when the run has lasted as long as it may
// (ErrRunTimeout), or when Run's context does. A result that is not nil is marshalled as JSON and goes with the final ack.
func Handle[P command.Params](a *Agent, h func(ctx context.Context, job *Job, p P) (any, error), policy Policy) {
	var zero P
	a.HandleRaw(zero.CommandType(), func(ctx context.Context, job *Job) (any, error) {
		p, err := command.Decode[P](job.Command())
		if err != nil {
			return nil, &rejection{reason: err.Error()} // h was not called
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
	if err := command.ValidateRunTimeout(policy.RunTimeout); err != nil {
		panic(fmt.Sprintf("agent: the policy of %q: %s", t, err))
	}
	if policy.Concurrent && policy.Exclusive {
		panic(fmt.Sprintf("agent: the policy of %q is both Concurrent and Exclusive", t))
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

// call turns a panic into an error. A handler that ends its goroutine, by
// runtime.Goexit, does not return here either: others go on.
func (h *handler) call(ctx context.Context, job *Job) (result any, err error) {
	returned := false
	defer func() {
		if p := recover(); p != nil {
			err = &safely.Panic{Value: p, Stack: debug.Stack()}
		} else if !returned {
			job.a.exited(job.t)
		}
	}()
	result, err = h.do(ctx, job)
	returned = true
	return result, err
}

// panicked writes that a function of the embedder's has. Its value may hold secrets of the command, and is for debugging, as
// the stack is.
func (a *Agent) panicked(what string, p *safely.Panic, of ...any) {
	a.log.Error(what, of...)
	a.log.Debug("value and stack of a panic", append(of, "panic", p.Text(), "stack", string(p.Stack))...)
}

// ErrCanceled is the cause of a handler's context that ended because the command was cancelled.
var ErrCanceled = errors.New("the command was cancelled")

// errStopping is the cause of a handler's context that ended because the agent stops.
var errStopping = errors.New("the agent is stopping")

type rejection struct {
	reason string
	code   ack.Code
}

func (r *rejection) Error() string { return r.reason }

// Reject is for a handler to return: the command was not carried out and never will be. Since the handler was called, the
// command keeps its idempotency key.
func Reject(reason string) error { return &rejection{reason, ack.CodeBegun} }

type retryLater struct {
	after  time.Duration
	reason string
}

func (r *retryLater) Error() string { return fmt.Sprintf("retry after %s: %s", r.after, r.reason) }

// RetryLater is for a handler to return: not now; try again, but not before after has passed (at
// most ack.MaxRetryAfter). The command keeps its place: later ones wait, unless they are urgent or of a
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
	j.a.progress(j.t, ack.Ack{Stage: ack.Progress, Reason: reasonOf(reason), Result: raw})
	return nil
}

// Finally has f called once the controller has recorded the outcome, for what ends the process: a
// reboot, an exit. If the process ends before that, f is not called. Of a run that was abandoned it is called once the
// handler has returned, too.
func (j *Job) Finally(f func()) {
	j.a.mu.Lock()
	defer j.a.mu.Unlock()
	j.t.finally = append(j.t.finally, f)
}
