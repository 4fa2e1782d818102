// Package clock reads the two clocks of a machine. The monotonic one counts time and is never set, but stands while the
// machine sleeps on some systems, Linux among them; the wall clock counts that, too, and may be set.
package clock

import (
	"context"
	"time"
)

// Reading is what the clocks show at one moment. The zero value is of no moment.
type Reading struct {
	Monotonic time.Time // to be subtracted from another
	Wall      int64     // nanoseconds since 1970
}

// Clock reads the clocks.
type Clock func() Reading

// Sub is how much time has passed since an earlier reading, by the monotonic clock.
func (r Reading) Sub(earlier Reading) time.Duration { return r.Monotonic.Sub(earlier.Monotonic) }

// Drift is how much further than the monotonic clock the wall clock has moved since an earlier reading.
func (r Reading) Drift(earlier Reading) time.Duration {
	return time.Duration(r.Wall-earlier.Wall) - r.Sub(earlier)
}

// IsZero says whether r is of no moment.
func (r Reading) IsZero() bool { return r == Reading{} }

type key struct{}

// With returns a context for tests of what reads the clocks that From returns.
func With(ctx context.Context, c Clock) context.Context { return context.WithValue(ctx, key{}, c) }

// From returns the machine's own clocks, unless ctx is of With.
func From(ctx context.Context) Clock {
	if c, ok := ctx.Value(key{}).(Clock); ok {
		return c
	}
	return now
}

func now() Reading {
	t := time.Now()
	return Reading{Monotonic: t, Wall: t.UnixNano()}
}
