package transport

import (
	"time"

	"github.com/miglink/miglink/internal/printable"
)

// Limits on what is kept of an error that a peer has said.
const (
	maxPeerMessage = 1 << 10 // bytes
	maxPeerCode    = 64      // bytes
	maxRetryAfter  = 24 * time.Hour
)

// PeerError is an error as a peer has said it, for adapters to decode errors with. The peer may be anybody, so its
// message is cut to 1 KiB, its code to 64 bytes, and what could steer a log or a terminal is escaped in both. A pause,
// in seconds, is between none and 24 hours.
func PeerError(code Code, message string, retryAfter float64) *Error {
	e := &Error{Code: Code(printable.Cut(string(code), maxPeerCode)), Message: printable.Cut(message, maxPeerMessage)}
	if retryAfter > 0 { // which NaN is not
		e.RetryAfter = time.Duration(min(retryAfter, maxRetryAfter.Seconds()) * float64(time.Second))
	}
	return e
}
