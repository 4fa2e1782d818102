package wire

import (
	"time"

	"github.com/miglink/miglink/internal/document"
)

const wholeSeconds = len("2006-01-02T15:04:05")

// parseUTC reads a time as it is usually written, 2006-01-02T15:04:05.999999999Z with any number of
// decimals or none, in less than half the time that package time takes; false: it is for package time to read.
func parseUTC(b []byte) (time.Time, bool) {
	if len(b) <= wholeSeconds || b[4] != '-' || b[7] != '-' || b[10] != 'T' || b[13] != ':' || b[16] != ':' || b[len(b)-1] != 'Z' {
		return time.Time{}, false
	}
	century, year, month, day := twoDigits(b[0:]), twoDigits(b[2:]), twoDigits(b[5:]), twoDigits(b[8:])
	hour, minute, second := twoDigits(b[11:]), twoDigits(b[14:]), twoDigits(b[17:])
	if century > 99 || year > 99 || month-1 > 11 || day-1 > 30 || hour > 23 || minute > 59 || second > 59 {
		return time.Time{}, false
	}
	nanoseconds, ok := parseDecimals(b[wholeSeconds : len(b)-1])
	t := time.Date(int(100*century+year), time.Month(month), int(day), int(hour), int(minute), int(second), nanoseconds, time.UTC)
	if day > 28 && t.Day() != int(day) {
		return time.Time{}, false // the month has no such day
	}
	return t, ok
}

// appendUTC appends a time in the form that parseUTC reads; false: that is for package time to do.
func appendUTC(b []byte, t time.Time) ([]byte, bool) {
	year, month, day := t.Date()
	if t.Location() != time.UTC || year < 0 || year > 9999 {
		return b, false
	}
	hour, minute, second := t.Clock()
	const form = "2006-01-02T15:04:05.000000000"
	start := len(b)
	b = append(b, form...)
	to := b[start:]
	putTwo(to[0:], year/100)
	putTwo(to[2:], year%100)
	putTwo(to[5:], int(month))
	putTwo(to[8:], day)
	putTwo(to[11:], hour)
	putTwo(to[14:], minute)
	putTwo(to[17:], second)
	n := wholeSeconds
	if ns := t.Nanosecond(); ns != 0 {
		n = len(form)
		for ; ns%10 == 0; ns /= 10 { // decimals that say nothing
			n--
		}
		for i := n - 1; ns > 0; i-- {
			to[i] = '0' + byte(ns%10)
			ns /= 10
		}
	}
	return append(b[:start+n], 'Z'), true
}

// putTwo writes a number of two digits.
func putTwo(b []byte, n int) { b[0], b[1] = '0'+byte(n/10), '0'+byte(n%10) }

// twoDigits is the number that b begins with; over 99: there is none.
func twoDigits(b []byte) uint {
	tens, units := uint(b[0])-'0', uint(b[1])-'0'
	if tens > 9 || units > 9 {
		return 100
	}
	return 10*tens + units
}

// parseDecimals returns the nanoseconds that .5 or .123456789 mean, or nothing at all.
func parseDecimals(b []byte) (nanoseconds int, ok bool) {
	if len(b) == 0 {
		return 0, true
	}
	const most = len(".123456789")
	if b[0] != '.' || len(b) == 1 || len(b) > most {
		return 0, false
	}
	for _, c := range b[1:] {
		if !document.IsDigit(c) {
			return 0, false
		}
		nanoseconds = 10*nanoseconds + int(c-'0')
	}
	for range most - len(b) {
		nanoseconds *= 10
	}
	return nanoseconds, true
}
