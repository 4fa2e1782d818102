package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/cenkalti/backoff/v4"

	"github.com/miglink/miglink/internal/safely"
)

const (
	firstPause = 200 * time.Millisecond
	longPause  = 5 * time.Second // and up to half more, at random
	// sayAgain is how often the log says that there is still no connection, for a reason that it has said before.
	sayAgain = time.Minute
)

// ErrLost is why links end with the connection that carries them.
var ErrLost = errors.New("the connection to the broker was lost")

// Keep keeps a connection until the server is closed: connect makes one, and run uses it until it is lost, or the server
// closed. The first is made before Keep returns. Where that fails Keep returns why, or, with retry, goes on trying like
// after a loss, unless ctx was cancelled. Pauses grow to longPause, and it never gives up: whatever a broker, or a library,
// says now, credentials may be good again later.
//
// The links end with each connection, but for the last: when the server is closed they are left to it, since they have yet
// to say goodbye.
func Keep[C any](ctx context.Context, s *Server, retry bool, connect func(context.Context) (C, error), run func(context.Context, C) error) error {
	first, err := connect(ctx)
	if err != nil && (!retry || errors.Is(ctx.Err(), context.Canceled)) {
		return err
	}
	if s.state.set(err) {
		s.Log.Warn("cannot connect to the broker", "error", err)
	}
	s.Go(func() { keep(s, first, err, connect, run) })
	return nil
}

// keep is the loop of Keep. Err says why there is no connection to begin with.
func keep[C any](s *Server, connection C, err error, connect func(context.Context) (C, error), run func(context.Context, C) error) {
	pause := backoff.NewExponentialBackOff(
		backoff.WithInitialInterval(firstPause), backoff.WithMaxInterval(longPause), backoff.WithMaxElapsedTime(0))
	goodbye := func() {}
	for {
		if err == nil {
			s.Go(goodbye)
			since := time.Now()
			// A message that has run panic costs the connection, and not all that will come over the next.
			err = safely.Do(func() error { return run(s.ctx, connection) })
			if s.ctx.Err() != nil {
				return
			}
			if panicked := (*safely.Panic)(nil); errors.As(err, &panicked) {
				s.Peers.Panicked(s.ctx, "", panicked)
			}
			goodbye = s.FailAll()
			s.state.set(lost(err))
			s.Log.Warn("the connection to the broker was lost", "error", err)
			if time.Since(since) > longPause {
				pause.Reset()
			}
		}
		select {
		case <-time.After(pause.NextBackOff()):
		case <-s.ctx.Done():
			return
		}
		connection, err = connect(s.ctx)
		switch {
		case s.ctx.Err() != nil:
			return
		case s.state.set(err):
			s.Log.Warn("cannot connect to the broker", "error", err)
		case err == nil:
			s.Log.Info("connected to the broker")
		}
	}
}

// lost is why there is no connection, where err is what it ended with. It is never nil.
func lost(err error) error {
	if err == nil || errors.Is(err, ErrLost) {
		return ErrLost
	}
	return fmt.Errorf("%w: %w", ErrLost, err)
}
