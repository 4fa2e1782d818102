package admin

import (
	"time"

	"github.com/miglink/miglink/transport"
)

// places are for requests that stay: so many at a time.
type places struct {
	what  string
	taken chan struct{}
}

func newPlaces(what string, n int) places { return places{what, make(chan struct{}, n)} }

// take takes a place, if one is free.
func (p places) take() error {
	select {
	case p.taken <- struct{}{}:
		return nil
	default:
		return &transport.Error{
			Code: transport.CodeRateLimited, RetryAfter: time.Second,
			Message: "too many " + p.what + " at a time",
		}
	}
}

func (p places) give() { <-p.taken }
