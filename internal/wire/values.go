package wire

import (
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/miglink/miglink/internal/document"
)

// null reads null, the only value that may stand where another kind is asked for.
func (r *Reader) null() {
	if r.peek() != 'n' {
		r.Fail(errKind)
		return
	}
	r.literal("null")
}

// text is the content of a string, until the next value is read; null is nil.
func (r *Reader) text() []byte {
	if r.peek() != '"' {
		r.null()
		return nil
	}
	return r.quoted()
}

// quoted reads a string, which comes next. It is nil where that fails, and never for "".
func (r *Reader) quoted() []byte {
	start := r.at + 1
	if end := start + document.Plain(r.b[start:]); end < len(r.b) && r.b[end] == '"' { // as nearly all
		r.at = end + 1
		return r.b[start:end]
	}
	v := r.take(scanString(r.b[r.at:]))
	if v == nil {
		return nil
	}
	b, _ := jsontext.AppendUnquote(nil, v) // the error says that it was mended
	return b
}

// String reads a string.
func (r *Reader) String(into *string) {
	if b := r.text(); b != nil {
		*into = string(b)
	}
}

// number returns a number as it is written; nil: it is null.
func (r *Reader) number() []byte {
	if c := r.peek(); c != '-' && !document.IsDigit(c) {
		r.null()
		return nil
	}
	return r.take(document.Number(r.b[r.at:]))
}

// Int reads a whole number.
func (r *Reader) Int(into *int) {
	if b := r.number(); b != nil {
		n, err := strconv.Atoi(string(b))
		if *into = n; err != nil {
			r.Fail(errRange)
		}
	}
}

// Uint reads a whole number that is not negative.
func (r *Reader) Uint(into *uint64) {
	if b := r.number(); b != nil {
		n, err := strconv.ParseUint(string(b), 10, 64)
		if *into = n; err != nil {
			r.Fail(errRange)
		}
	}
}

// Float reads a number.
func (r *Reader) Float(into *float64) {
	if b := r.number(); b != nil {
		f, err := strconv.ParseFloat(string(b), 64)
		if *into = f; err != nil {
			r.Fail(errRange)
		}
	}
}

// Bool reads true or false.
func (r *Reader) Bool(into *bool) {
	switch r.peek() {
	case 't':
		r.literal("true")
		*into = true
	case 'f':
		r.literal("false")
		*into = false
	default:
		r.null()
	}
}

// Time reads a time as of RFC 3339.
func (r *Reader) Time(into *time.Time) {
	if b := r.text(); b != nil {
		if t, ok := parseUTC(b); ok {
			*into = t
		} else if err := into.UnmarshalText(b); err != nil {
			r.Fail(errTime)
		}
	}
}
