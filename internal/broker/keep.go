package broker

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v4"
)

const (
	firstPause = 200 * time.Millisecond
	longPause  = 5 * time.Second
)

// ErrLost is why links end with the connection that carries them.
var ErrLost = errors.New("the connection to the broker was lost")

// Keep keeps a connection: run uses one until it is lost, and connect makes another, with pauses that grow
// while it cannot, or not for long. The links end with each connection, but for the last: when the server is
// closed, Keep returns and leaves it to them, which have yet to say goodbye.
func Keep[C any](s *Server, connection C, connect func(context.Context) (C, error), run func(context.Context, C) error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(longPause), backoff.WithMaxElapsedTime(0))
	for {
		since := time.Now()
		err := run(s.ctx, connection)
		if s.ctx.Err() != nil {
			return
		}
		goodbye := s.FailAll()
		s.Log.Warn("the connection to the broker was lost", "error", err)
		if time.Since(since) > longPause {
			pause.Reset()
		}
		for {
			select {
			case <-time.After(pause.NextBackOff()):
			case <-s.ctx.Done():
				return
			}
			if connection, err = connect(s.ctx); err == nil {
				break
			}
			if s.ctx.Err() != nil {
				return
			}
			s.Log.Warn("cannot connect to the broker", "error", err)
		}
		s.Log.Info("connected to the broker again")
		s.Go(goodbye)
	}
}
