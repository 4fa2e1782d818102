package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/transport"
)

// The pause before a request is repeated grows from the first of these to the second.
const (
	firstPause = 100 * time.Millisecond
	mostPause  = 2 * time.Second
)

// asker repeats requests until they are answered, or its time is up. What it asks for can be asked for twice: it has an
// ID. The zero value repeats nothing.
type asker struct {
	limit   time.Duration // for how long a request is repeated, from the first answer that was lost
	reached atomic.Bool   // the controller has answered: from then on, that it cannot be reached may pass
}

// ask calls do until it succeeds, is refused, or the time is up. lost says that it is not known whether what was asked for
// was done.
func (a *asker) ask(ctx context.Context, do func(context.Context) error) (lost bool, err error) {
	var until time.Time
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err = do(ctx)
		var said *transport.Error
		answered := errors.As(err, &said)
		unanswered := errors.Is(err, admin.ErrUnanswered)
		lost = lost || unanswered
		if err == nil || answered {
			a.reached.Store(true)
		}
		switch {
		case err == nil:
			return false, nil
		case ctx.Err() != nil:
			return lost, err
		case answered && !unanswered && conclusive(said.Code):
			return false, err
		case !transient(err), !lost && !answered && !a.reached.Load():
			return lost, err
		}
		if until.IsZero() {
			until = time.Now().Add(a.limit)
		}
		wait := max(pause/2+rand.N(pause/2), transport.RetryAfter(err))
		if wait > time.Until(until) || !sleep(ctx, wait) {
			return lost, err
		}
	}
}

// conclusive says whether a refusal also tells that an earlier request, of the same ID, has changed nothing.
func conclusive(c transport.Code) bool {
	switch c {
	case transport.CodeInvalid, transport.CodeTooLarge, transport.CodeQueueFull, transport.CodeKeyReused, transport.CodeIDReused, transport.CodeUnknownCommand:
		return true
	}
	return false
}

// transient says whether a request that failed may succeed later as it is. What a proxy has refused may, once the controller
// behind it is back.
func transient(err error) bool {
	var said *transport.Error
	if !errors.As(err, &said) || errors.Is(err, admin.ErrUnanswered) {
		return errors.Is(err, admin.ErrUnanswered) || errors.Is(err, admin.ErrUnreachable) || errors.As(err, new(*transport.ForeignError))
	}
	switch said.Code {
	case transport.CodeUnavailable, transport.CodeMoved, transport.CodeRateLimited, transport.CodeInternal:
		return true
	}
	return false
}

// change asks for something that changes what the controller has. done is what there is to be known, as in "c-1 is
// queued", and again how to find out.
func change(ctx context.Context, limit time.Duration, done, again string, do func(context.Context) error) error {
	lost, err := (&asker{limit: limit}).ask(ctx, do)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil && lost:
		return &exitError{exitInterrupted, fmt.Errorf("interrupted; it is not known whether %s: %s", done, again)}
	case ctx.Err() != nil:
		return &exitError{exitInterrupted, errors.New("interrupted; nothing was asked for")}
	case lost:
		return &exitError{exitUnknown, fmt.Errorf("it is not known whether %s (%w): %s", done, err, again)}
	}
	return err
}
