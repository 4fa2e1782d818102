package httplink

import (
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// typePrefix, with a code after it, is the type of a problem document of ours. By that an answer of the controller is told
// from one of something in between, which may be a problem document, too.
const typePrefix = "urn:miglink:error:"

// Problem is a problem document (RFC 9457). Code and the fields after it are extensions.
type Problem struct {
	Type       string         `json:"type"`  // WriteProblem sets it
	Title      string         `json:"title"` // likewise
	Status     int            `json:"status"`
	Detail     string         `json:"detail,omitempty"`
	Code       transport.Code `json:"code"`
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds
	CommandID  string         `json:"command_id,omitempty"`  // of key_reused: the command that has the ID or the key
	Stage      ack.Stage      `json:"stage,omitempty"`       // likewise: how far that is
	Refused    Refusals       `json:"refused,omitempty"`     // of several acks, those that were not recorded
}

// Refusal is what became of one ack of several.
type Refusal struct {
	Index     int            `json:"index"`
	CommandID string         `json:"command_id"`
	Code      transport.Code `json:"code"`
	Detail    string         `json:"detail,omitempty"`
}

// MediaType is that of a problem document.
const MediaType = "application/problem+json"

// An answer has pageTimeout to be taken, and a second more for each slowest bytes of it.
const (
	pageTimeout = 30 * time.Second
	slowest     = 128 << 10
)

// maxCommandID is the length of the longest ID of a command, in bytes: command.MaxIDLength, of a package that is not below
// this one.
const maxCommandID = 128

// maxProblem bounds what is read of a document, in bytes.
const maxProblem = 1 << 20

var statuses = map[transport.Code]int{
	transport.CodeUnavailable:  http.StatusServiceUnavailable,
	transport.CodeMoved:        http.StatusServiceUnavailable,
	transport.CodeReplaced:     http.StatusConflict,
	transport.CodeSuperseded:   http.StatusConflict,
	transport.CodeUnauthorized: http.StatusUnauthorized,
	transport.CodeRevoked:      http.StatusForbidden,
	transport.CodeForbidden:    http.StatusForbidden,

	transport.CodeCredentialsExpired: http.StatusUnauthorized,

	transport.CodeProtocol:          http.StatusBadRequest,
	transport.CodeCommandCanceled:   http.StatusConflict,
	transport.CodeCommandExpired:    http.StatusConflict,
	transport.CodeCommandSuperseded: http.StatusConflict,
	transport.CodeCommandDead:       http.StatusConflict,
	transport.CodeCommandStarted:    http.StatusConflict,
	transport.CodeCommandSettled:    http.StatusConflict,
	transport.CodeUnknownCommand:    http.StatusNotFound,
	transport.CodeInvalid:           http.StatusBadRequest,
	transport.CodeTooLarge:          http.StatusRequestEntityTooLarge,
	transport.CodeQueueFull:         http.StatusTooManyRequests,
	transport.CodeRateLimited:       http.StatusTooManyRequests,
	transport.CodeIDReused:          http.StatusConflict,
	transport.CodeKeyReused:         http.StatusConflict,
	transport.CodeInternal:          http.StatusInternalServerError,
}

// WriteError answers a request with a problem document.
func WriteError(w http.ResponseWriter, err error) {
	p := problemOf(transport.AsError(err))
	if s := (statusError{}); errors.As(err, &s) {
		p.Status = s.status
	}
	WriteProblem(w, p)
}

// statusError is an error with a status of its own.
type statusError struct {
	error
	status int
}

func (e statusError) Unwrap() error { return e.error }

// WithStatus returns an error for which WriteError uses another status than that of its code.
func WithStatus(status int, err *transport.Error) error { return statusError{err, status} }

func problemOf(e *transport.Error) Problem {
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return Problem{
		Status: status, Detail: e.Message, Code: e.Code, RetryAfter: e.RetryAfter.Seconds(), CommandID: e.CommandID, Stage: e.Stage,
	}
}

// WriteProblem answers a request with p.
func WriteProblem(w http.ResponseWriter, p Problem) {
	p.Type, p.Title = typePrefix+string(p.Code), http.StatusText(p.Status)
	if p.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(p.RetryAfter))))
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	writeJSON(w, p.Status, MediaType, p)
}

// WriteJSON answers a request with v.
func WriteJSON(w http.ResponseWriter, status int, v any) {
	writeJSON(w, status, "application/json", v)
}

// WriteBody answers a request with JSON.
func WriteBody(w http.ResponseWriter, b []byte) { writeBody(w, http.StatusOK, "application/json", b) }

func writeJSON(w http.ResponseWriter, status int, mediaType string, v any) {
	b, err := wirejson.Marshal(v)
	if err != nil {
		http.Error(w, "the answer does not encode", http.StatusInternalServerError)
		return
	}
	writeBody(w, status, mediaType, b)
}

func writeBody(w http.ResponseWriter, status int, mediaType string, b []byte) {
	if _, ok := w.(*Borrowed); !ok { // which is written to by Answer
		// Over HTTP/1 this is the connection's deadline, and net/http takes it away when the request is answered.
		late := time.Now().Add(pageTimeout + time.Duration(len(b)/slowest)*time.Second)
		_ = http.NewResponseController(w).SetWriteDeadline(late) // not all can
	}
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: it will ask again
}

// ReadError is the error of an answer that is not a success: what the controller said, or a *transport.ForeignError.
func ReadError(resp *http.Response) error {
	p, err := ReadProblem(resp)
	if err != nil {
		return err
	}
	return p.Err()
}

// Err is the transport error that the document carries.
func (p Problem) Err() *transport.Error {
	e := transport.PeerError(p.Code, p.Detail, p.RetryAfter)
	e.CommandID, e.Stage = printable.Cut(p.CommandID, maxCommandID), p.Stage
	if !e.Stage.Known() {
		e.Stage = ""
	}
	return e
}

// Refusals are those of one message of acks.
type Refusals []Refusal

// UnmarshalJSON counts them as it goes: an element of two bytes takes seventy in memory.
func (l *Refusals) UnmarshalJSON(b []byte) error {
	return wire.Read(b, func(r *wire.Reader) {
		*l = wire.List(r, ack.MaxBatch, func(one *Refusal) {
			if raw := r.Raw(); raw != nil {
				if err := json.Unmarshal(raw, one); err != nil {
					r.Fail(err)
				}
			}
		})
	})
}

// ReadProblem reads the body of an answer that is not a success. What is no problem document of ours is a
// *transport.ForeignError.
func ReadProblem(resp *http.Response) (Problem, error) {
	if mediaType(resp) == MediaType {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		var p Problem
		if err == nil && json.Unmarshal(b, &p) == nil && p.Code != "" && p.Type == typePrefix+string(p.Code) && p.RetryAfter >= 0 && p.RetryAfter < 1e9 {
			return p, nil
		}
	}
	return Problem{}, Foreign(resp, "")
}

// CodeAcksRefused is the code of a document that lists Refused acks.
const CodeAcksRefused transport.Code = "acks_refused"
