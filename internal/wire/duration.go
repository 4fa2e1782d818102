package wire

import (
	"time"

	"github.com/miglink/miglink/internal/document"
)

// parseDuration is time.ParseDuration, and faster for whole seconds, such as 30s and 1h30m0s.
func parseDuration(b []byte) (time.Duration, bool) {
	if d, ok := parseSeconds(b); ok {
		return d, true
	}
	d, err := time.ParseDuration(string(b))
	return d, err == nil
}

func parseSeconds(b []byte) (d time.Duration, ok bool) {
	const longest, mostDigits = len("99999h59m59s"), 5 // too little to overflow
	if len(b) == 0 || len(b) > longest {
		return 0, false
	}
	for len(b) > 0 {
		digits := document.Digits(b)
		if digits == 0 || digits > mostDigits || digits == len(b) {
			return 0, false
		}
		n := 0
		for _, c := range b[:digits] {
			n = 10*n + int(c-'0')
		}
		switch b[digits] {
		case 'h':
			d += time.Duration(n) * time.Hour
		case 'm':
			d += time.Duration(n) * time.Minute
		case 's':
			d += time.Duration(n) * time.Second
		default:
			return 0, false
		}
		b = b[digits+1:]
	}
	return d, true
}
