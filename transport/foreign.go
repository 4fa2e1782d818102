package transport

import "time"

// MaxForeignRetryAfter bounds the pause that anything but the controller may ask for.
const MaxForeignRetryAfter = 5 * time.Minute

// ForeignError is the error of an answer that is not the controller's: a proxy, a portal, or another server at the same
// address has given it. It refuses nothing, since whoever gave it knows nothing of what was sent, and is not an *Error.
type ForeignError struct {
	Status     int           // of HTTP; 0: none
	Message    string        // what was answered, and by whom as far as it says so; for people
	RetryAfter time.Duration // at most MaxForeignRetryAfter
}

func (e *ForeignError) Error() string { return e.Message }
