package httplink

import (
	"encoding/json"
	"io"
	"math"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

// Problem is a problem document (RFC 9457). Code and the fields after it are extensions.
type Problem struct {
	Type       string         `json:"type"`
	Title      string         `json:"title"`
	Status     int            `json:"status"`
	Detail     string         `json:"detail,omitempty"`
	Code       transport.Code `json:"code"`
	RetryAfter float64        `json:"retry_after,omitempty"` // seconds
	Refused    []Refusal      `json:"refused,omitempty"`     // of several acks, those that were not recorded
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

// maxProblem bounds what is read of a document.
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
	transport.CodeUnknownCommand:    http.StatusNotFound,
	transport.CodeInvalid:           http.StatusBadRequest,
	transport.CodeTooLarge:          http.StatusRequestEntityTooLarge,
	transport.CodeQueueFull:         http.StatusTooManyRequests,
	transport.CodeRateLimited:       http.StatusTooManyRequests,
	transport.CodeKeyReused:         http.StatusConflict,
	transport.CodeInternal:          http.StatusInternalServerError,
}

// WriteError answers a request with a problem document.
func WriteError(w http.ResponseWriter, err error) {
	WriteProblem(w, problemOf(transport.AsError(err)))
}

func problemOf(e *transport.Error) Problem {
	status, ok := statuses[e.Code]
	if !ok {
		status = http.StatusInternalServerError
	}
	return Problem{
		Type:       "about:blank",
		Title:      http.StatusText(status),
		Status:     status,
		Detail:     e.Message,
		Code:       e.Code,
		RetryAfter: e.RetryAfter.Seconds(),
	}
}

// WriteProblem answers a request with p.
func WriteProblem(w http.ResponseWriter, p Problem) {
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
	h := w.Header()
	h.Set("Content-Type", mediaType)
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Length", strconv.Itoa(len(b)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client is gone: it will ask again
}

// ReadError is the error of an answer that is not a success: what the controller said, or, where
// something in between answered, what its status means.
func ReadError(resp *http.Response) error {
	p, err := ReadProblem(resp)
	if err != nil {
		return err
	}
	return p.Err()
}

// Err is the transport error that the document carries.
func (p Problem) Err() *transport.Error {
	return &transport.Error{Code: p.Code, Message: p.Detail, RetryAfter: time.Duration(p.RetryAfter * float64(time.Second))}
}

// ReadProblem reads the body of an answer that is not a success. The error is that of an answer
// without a problem document of ours.
func ReadProblem(resp *http.Response) (Problem, error) {
	if mediaType, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); mediaType == MediaType {
		b, err := io.ReadAll(io.LimitReader(resp.Body, maxProblem))
		var p Problem
		if err == nil && json.Unmarshal(b, &p) == nil && p.Code != "" && p.RetryAfter >= 0 && p.RetryAfter < 1e9 {
			return p, nil
		}
	}
	e := &transport.Error{Message: "something between here and the controller answered " + resp.Status, RetryAfter: retryAfter(resp.Header)}
	switch resp.StatusCode {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		e.Code = transport.CodeUnauthorized
	case http.StatusForbidden:
		e.Code = transport.CodeForbidden
	case http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong:
		e.Code = transport.CodeTooLarge
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		e.Code = transport.CodeUnavailable
	default:
		e.Code = transport.CodeProtocol
	}
	return Problem{}, e
}

// retryAfter reads the header in both of its forms (RFC 9110, section 10.2.3).
func retryAfter(h http.Header) time.Duration {
	s := h.Get("Retry-After")
	if n, err := strconv.ParseUint(s, 10, 31); err == nil {
		return time.Duration(n) * time.Second
	}
	if t, err := http.ParseTime(s); err == nil {
		return max(time.Until(t), 0)
	}
	return 0
}

// CodeAcksRefused is the code of a document that lists Refused acks.
const CodeAcksRefused transport.Code = "acks_refused"
