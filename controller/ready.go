package controller

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
)

// notReadyTime is how long a write that has failed counts, if none is tried after it. Where nothing is sent any more to a
// controller that is not ready, somebody has to try again.
const notReadyTime = 30 * time.Second

// Ready returns nil while commands can be sent, and else why not: the controller is stopping, or its ledger did not take
// what was last to be written. It asks nobody, and waits for nothing.
func (c *Controller) Ready() error {
	if c.stopping.Load() {
		return transport.Errorf(transport.CodeUnavailable, "the controller is stopping")
	}
	if f := c.ledger.failed.Load(); f != nil && time.Since(f.at) < notReadyTime {
		return fmt.Errorf("the ledger cannot write: %w", f.err)
	}
	return nil
}

// failure is that of a write.
type failure struct {
	err error
	at  time.Time
}

// wrote notes how a write has gone, and returns its error. Stored says whether it has left something in the ledger. What
// a ledger refuses, or a caller gives up, says nothing of whether it can write.
func (g *gate) wrote(stored bool, err error) error {
	switch {
	case err == nil:
		if stored && g.failed.Load() != nil {
			g.failed.Store(nil)
		}
	case refusedByRule(err):
	default:
		g.failed.Store(&failure{err, time.Now()})
	}
	return err
}

func refusedByRule(err error) bool {
	for _, rule := range []error{
		ledger.ErrConflict, ledger.ErrFull, ledger.ErrUnreadable, ledger.ErrNotFound,
		command.ErrInvalid, command.ErrTooLarge, context.Canceled, context.DeadlineExceeded,
	} {
		if errors.Is(err, rule) {
			return true
		}
	}
	return errors.As(err, new(*guardError)) || errors.As(err, new(*transport.Error)) || errors.As(err, new(*safely.Panic))
}
