package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// Limits on how long a run may be allowed to last.
const (
	MinRunTimeout = time.Second
	MaxRunTimeout = 7 * 24 * time.Hour
)

// ValidateRunTimeout accepts MinRunTimeout to MaxRunTimeout in whole milliseconds, and 0, which is no limit.
func ValidateRunTimeout(d time.Duration) error {
	switch {
	case d == 0:
		return nil
	case d < MinRunTimeout || d > MaxRunTimeout:
		return fmt.Errorf("run_timeout is %s, %s to %s are allowed, or 0 for no limit", d, MinRunTimeout, MaxRunTimeout)
	case d%time.Millisecond != 0:
		return fmt.Errorf("run_timeout is %s, which is no whole number of milliseconds", d)
	}
	return nil
}

// Milliseconds is a time.Duration that is a whole number of milliseconds as JSON.
type Milliseconds time.Duration

// MillisecondsOf is so many milliseconds, or the longest that there is.
func MillisecondsOf(n uint64) Milliseconds {
	return Milliseconds(min(n, math.MaxInt64/uint64(time.Millisecond))) * Milliseconds(time.Millisecond)
}

// Count is how many milliseconds there are in d; none where d is negative.
func (d Milliseconds) Count() uint64 { return uint64(max(0, time.Duration(d).Milliseconds())) }

// String is the text of a time.Duration.
func (d Milliseconds) String() string { return time.Duration(d).String() }

// MarshalJSON is the number of milliseconds.
func (d Milliseconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendUint(nil, d.Count(), 10), nil
}

// UnmarshalJSON reads a whole number that is not negative.
func (d *Milliseconds) UnmarshalJSON(b []byte) error {
	var n uint64
	if err := json.Unmarshal(b, &n); err != nil {
		return errors.New("it is not a whole number of milliseconds")
	}
	*d = MillisecondsOf(n)
	return nil
}
