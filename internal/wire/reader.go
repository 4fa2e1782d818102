package wire

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Reader reads one JSON document, field by field, and remembers the first error: what is read after it
// is empty. As encoding/json does, it lets null leave a value as it was, skips fields that it does not
// know, takes the last of two, and mends text that is not UTF-8. Names of fields count as they are written.
type Reader struct {
	in  bytes.Buffer
	dec jsontext.Decoder
	err error
}

var (
	readers = sync.Pool{New: func() any { return new(Reader) }}
	lenient = jsontext.AllowDuplicateNames(true)
	mending = jsontext.AllowInvalidUTF8(true)

	errTrailing = errors.New("there is more than one document")
	errKind     = errors.New("a value is of another kind")
)

// Read has read take what b holds, which it must not keep. Its error is for the caller to put in other
// words: it may quote b.
func Read(b []byte, read func(*Reader)) error {
	r := readers.Get().(*Reader)
	defer readers.Put(r)
	r.in, r.err = *bytes.NewBuffer(b), nil
	r.dec.Reset(&r.in, lenient, mending)
	read(r)
	if r.err == nil {
		if _, err := r.dec.ReadToken(); err == nil {
			r.err = errTrailing
		} else if err != io.EOF { //nolint:errorlint // as it is documented
			r.err = err
		}
	}
	r.in = bytes.Buffer{}
	return r.err
}

// Fail makes err the reader's, unless there is one.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// Object calls field with the name of each field; it is to read or skip the value.
func (r *Reader) Object(field func(name []byte)) {
	if !r.begin('{') {
		return
	}
	for r.err == nil && r.dec.PeekKind() != '}' {
		if name := r.text(); r.err == nil {
			field(name)
		}
	}
	r.end()
}

// Array calls element before each element, which it is to read or skip. It returns false for null.
func (r *Reader) Array(element func()) bool {
	if !r.begin('[') {
		return false
	}
	for r.err == nil && r.dec.PeekKind() != ']' {
		element()
	}
	r.end()
	return true
}

// room is how many elements of about a size there may be yet.
func (r *Reader) room(size int) int { return 1 + len(r.dec.UnreadBuffer())/size }

// begin steps into an object or array; false: it is null, or there is none.
func (r *Reader) begin(kind jsontext.Kind) bool {
	if r.err != nil {
		return false
	}
	t, err := r.dec.ReadToken()
	switch {
	case err != nil:
		r.err = err
	case t.Kind() == kind:
		return true
	case t.Kind() != 'n':
		r.err = errKind
	}
	return false
}

func (r *Reader) end() {
	if r.err == nil {
		_, r.err = r.dec.ReadToken()
	}
}

// Skip reads over a value.
func (r *Reader) Skip() {
	if r.err == nil {
		r.err = r.dec.SkipValue()
	}
}

// Raw is a value as it is written, until the next is read; null is nil.
func (r *Reader) Raw() []byte {
	if r.err != nil {
		return nil
	}
	v, err := r.dec.ReadValue()
	if err != nil {
		r.err = err
		return nil
	}
	if v.Kind() == 'n' {
		return nil
	}
	return v
}

// text is the content of a string, until the next value is read; null is nil.
func (r *Reader) text() []byte {
	v := r.Raw()
	switch {
	case v == nil:
		return nil
	case v[0] != '"':
		r.err = errKind
		return nil
	case bytes.IndexByte(v, '\\') < 0 && ascii(v):
		return v[1 : len(v)-1]
	}
	b, _ := jsontext.AppendUnquote(nil, v) // what is not UTF-8 is mended
	return b
}

func ascii(b []byte) bool {
	for _, c := range b {
		if c >= 0x80 {
			return false
		}
	}
	return true
}

// String reads a string.
func (r *Reader) String(into *string) {
	if b := r.text(); b != nil {
		*into = string(b)
	}
}

// number returns a number as it is written; nil: it is null.
func (r *Reader) number() []byte {
	v := r.Raw()
	if v != nil && v[0] != '-' && (v[0] < '0' || v[0] > '9') {
		r.err = errKind
		return nil
	}
	return v
}

// Int reads a whole number.
func (r *Reader) Int(into *int) {
	if b := r.number(); b != nil {
		n, err := strconv.Atoi(string(b))
		if *into = n; err != nil {
			r.err = err
		}
	}
}

// Uint reads a whole number that is not negative.
func (r *Reader) Uint(into *uint64) {
	if b := r.number(); b != nil {
		n, err := strconv.ParseUint(string(b), 10, 64)
		if *into = n; err != nil {
			r.err = err
		}
	}
}

// Float reads a number.
func (r *Reader) Float(into *float64) {
	if b := r.number(); b != nil {
		f, err := strconv.ParseFloat(string(b), 64)
		if *into = f; err != nil {
			r.err = err
		}
	}
}

// Bool reads true or false.
func (r *Reader) Bool(into *bool) {
	switch v := r.Raw(); string(v) {
	case "true", "false":
		*into = len(v) == len("true")
	case "":
	default:
		r.err = errKind
	}
}

// Time reads a time as of RFC 3339.
func (r *Reader) Time(into *time.Time) {
	if b := r.text(); b != nil {
		if err := into.UnmarshalText(b); err != nil {
			r.err = err
		}
	}
}
