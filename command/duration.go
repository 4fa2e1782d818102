package command

import (
	"encoding/json"
	"errors"
	"math"
	"time"
)

// Duration is a time.Duration that marshals as text ("1m30s") and also reads a number of seconds,
// which is what older controllers send.
type Duration time.Duration

// String is the text of a time.Duration.
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalText is the text of a time.Duration.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalJSON reads the text of a time.Duration, or a number of seconds.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var seconds float64
	if json.Unmarshal(b, &seconds) == nil {
		ns := seconds * float64(time.Second)
		if math.Abs(ns) > math.MaxInt64/2 {
			return errors.New("a duration is out of range")
		}
		*d = Duration(ns)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New(`a duration is neither text like "30s" nor a number of seconds`)
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return errors.New(`a duration is neither text like "30s" nor a number of seconds`)
	}
	*d = Duration(v)
	return nil
}
