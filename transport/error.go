package transport

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miglink/miglink/ack"
)

// Code says what kind of error a peer reports. Codes are the same on every transport.
type Code string

// The codes. Those of the first group end a link or a dial, those of the second refuse one ack or
// one report and leave the link alive.
const (
	CodeUnavailable  Code = "unavailable"  // not now: stopping, overloaded; see RetryAfter
	CodeMoved        Code = "moved"        // dial again at once: a better way is open
	CodeReplaced     Code = "replaced"     // the same instance has dialled another link
	CodeSuperseded   Code = "superseded"   // a newer instance of the VM took over; stop
	CodeUnauthorized Code = "unauthorized" // no credentials, or bad or expired ones
	CodeRevoked      Code = "revoked"      // credentials that will never be good again; stop
	CodeForbidden    Code = "forbidden"    // good credentials, for something else
	CodeProtocol     Code = "protocol"     // the peer broke the protocol, or speaks another version

	CodeCredentialsExpired Code = "credentials_expired" // they were good: dial again with fresh ones

	CodeCommandCanceled   Code = "command_canceled"   // may not start: cancelled
	CodeCommandExpired    Code = "command_expired"    // may not start: its time has passed
	CodeCommandSuperseded Code = "command_superseded" // may not start: a later one took its place
	CodeCommandDead       Code = "command_dead"       // may not start: given up
	CodeCommandStarted    Code = "command_started"    // may not start: another instance has started it
	CodeCommandSettled    Code = "command_settled"    // may not start: it has ended
	CodeUnknownCommand    Code = "unknown_command"    // there is no such command for this VM
	CodeInvalid           Code = "invalid"            // malformed
	CodeTooLarge          Code = "too_large"          // over a limit of size
	CodeQueueFull         Code = "queue_full"         // over a limit of number
	CodeRateLimited       Code = "rate_limited"       // over a limit of rate, also of dials: try again, see RetryAfter
	CodeIDReused          Code = "id_reused"          // the ID of another command, which was created at another time
	CodeKeyReused         Code = "key_reused"         // an ID or an idempotency key with another content
	CodeInternal          Code = "internal"           // the peer failed: try again
)

// One sentinel per code, for errors.Is.
var (
	ErrUnavailable  = &Error{Code: CodeUnavailable}
	ErrMoved        = &Error{Code: CodeMoved}
	ErrReplaced     = &Error{Code: CodeReplaced}
	ErrSuperseded   = &Error{Code: CodeSuperseded}
	ErrUnauthorized = &Error{Code: CodeUnauthorized}
	ErrRevoked      = &Error{Code: CodeRevoked}
	ErrForbidden    = &Error{Code: CodeForbidden}
	ErrProtocol     = &Error{Code: CodeProtocol}

	ErrCredentialsExpired = &Error{Code: CodeCredentialsExpired}

	ErrCommandCanceled   = &Error{Code: CodeCommandCanceled}
	ErrCommandExpired    = &Error{Code: CodeCommandExpired}
	ErrCommandSuperseded = &Error{Code: CodeCommandSuperseded}
	ErrCommandDead       = &Error{Code: CodeCommandDead}
	ErrCommandStarted    = &Error{Code: CodeCommandStarted}
	ErrCommandSettled    = &Error{Code: CodeCommandSettled}
	ErrUnknownCommand    = &Error{Code: CodeUnknownCommand}
	ErrInvalid           = &Error{Code: CodeInvalid}
	ErrTooLarge          = &Error{Code: CodeTooLarge}
	ErrQueueFull         = &Error{Code: CodeQueueFull}
	ErrRateLimited       = &Error{Code: CodeRateLimited}
	ErrIDReused          = &Error{Code: CodeIDReused}
	ErrKeyReused         = &Error{Code: CodeKeyReused}
	ErrInternal          = &Error{Code: CodeInternal}
)

// ErrNoBroker is returned where a transport over a broker is opened without the URL of such a broker. "auto"
// leaves such a transport out.
var ErrNoBroker = errors.New("the broker's URL is not given")

// ErrSilent is wrapped by the error of a link that has ended because nothing was heard of the peer for too long.
var ErrSilent = errors.New("nothing was heard of the peer for too long")

// ErrClosed is returned by the methods of a link after its own Close.
var ErrClosed = errors.New("miglink: link closed")

// Error is what a peer said, as opposed to what was inferred (a connection that broke, a deadline
// that passed). It crosses every wire as it is.
type Error struct {
	Code    Code
	Message string // for people; holds no secret

	// RetryAfter is how long to wait at least before the next dial, where the peer said so.
	RetryAfter time.Duration

	// CommandID and Stage are, of key_reused, the command that has the ID or idempotency key, and how far it is.
	CommandID string
	Stage     ack.Stage
}

// Errorf makes an Error with a message.
func Errorf(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

func (e *Error) Error() string {
	s := "miglink: " + string(e.Code)
	if e.Message != "" {
		s += ": " + e.Message
	}
	return s + e.wait()
}

// wait is the end of the text. A controller that stops draws another one for each dial.
func (e *Error) wait() string {
	if e.RetryAfter <= 0 {
		return ""
	}
	return fmt.Sprintf(" (retry after %s)", e.RetryAfter)
}

// Is matches errors of the same code, so that errors.Is(err, ErrSuperseded) works.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Terminal says whether dialling again is pointless: the controller told this agent to stop.
func Terminal(err error) bool {
	return errors.Is(err, ErrSuperseded) || errors.Is(err, ErrRevoked)
}

// Refused says whether err refuses what was sent and leaves the link alive.
func Refused(err error) bool {
	if errs := AckErrors(nil); errors.As(err, &errs) {
		return true
	}
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case CodeCommandCanceled, CodeCommandExpired, CodeCommandSuperseded, CodeCommandDead, CodeCommandStarted, CodeCommandSettled,
		CodeUnknownCommand, CodeInvalid, CodeTooLarge, CodeQueueFull, CodeRateLimited, CodeIDReused, CodeKeyReused, CodeInternal:
		return true
	}
	return false
}

// RetryAfter is the wait that the error of a peer in err's tree asks for, or that of a ForeignError, or 0.
func RetryAfter(err error) time.Duration {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.RetryAfter
	}
	if e := (*ForeignError)(nil); errors.As(err, &e) {
		return min(e.RetryAfter, MaxForeignRetryAfter)
	}
	return 0
}

// AckErrors is how Link.Ack reports that some acks were refused: one entry per ack, in the order of
// the call, nil where it was recorded. At least one is not nil. errors.Is looks into the entries, so
// a caller that sends a single ack can compare the error as it is.
type AckErrors []error

func (e AckErrors) Error() string {
	switch refused := e.Unwrap(); len(refused) {
	case 0:
		return "miglink: no ack refused"
	case 1:
		return refused[0].Error()
	default:
		return fmt.Sprintf("miglink: %d of %d acks refused, the first: %s", len(refused), len(e), refused[0])
	}
}

// Unwrap returns the refusals.
func (e AckErrors) Unwrap() []error {
	var errs []error
	for _, err := range e {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// Of returns the errors as Link.Ack does: nil where all entries are.
func (e AckErrors) Of() error {
	for _, err := range e {
		if err != nil {
			return e
		}
	}
	return nil
}

// AckError picks what an error of Link.Ack says of the i-th ack of the call.
func AckError(err error, i int) error {
	if err == nil {
		return nil
	}
	if errs := AckErrors(nil); errors.As(err, &errs) {
		if i < len(errs) {
			return errs[i]
		}
		return nil
	}
	return err
}

// MaxMessage bounds what an Error says on a wire, in bytes: many of them fit one message.
const MaxMessage = 512

// AsError turns any error into one that can cross a wire, its message shortened to MaxMessage. What is
// not an *Error already becomes CodeInternal, without its text: what goes wrong inside a controller is
// for its own log.
func AsError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		if len(e.Message) > MaxMessage {
			brief := *e
			brief.Message = strings.ToValidUTF8(e.Message[:MaxMessage-3], "") + "…"
			return &brief
		}
		return e
	}
	return &Error{Code: CodeInternal}
}
