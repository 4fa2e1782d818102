package wire

import (
	"errors"
	"sync"

	"github.com/miglink/miglink/internal/document"
)

// Reader reads one JSON document, field by field, and remembers the first error: what is read after it
// is empty. As encoding/json does, it lets null leave a value as it was, skips fields that it does not
// know, takes the last of two, and mends text that is not UTF-8. Names of fields count as they are written.
type Reader struct {
	b     []byte
	at    int // where in b reading goes on
	depth int // of the objects and arrays around it
	err   error
}

// maxDepth is that of encoding/json. Skip takes some stack for each level.
const maxDepth = 10_000

var (
	readers = sync.Pool{New: func() any { return new(Reader) }}

	// ErrTooMany is that of an array with more elements than anybody may send: each takes many times the
	// room that it has as JSON.
	ErrTooMany = errors.New("an array has too many elements")

	errSyntax   = errors.New("this is not JSON")
	errDepth    = errors.New("objects and arrays are nested too deep")
	errTrailing = errors.New("there is more than one document")
	errKind     = errors.New("a value is of another kind")
	errRange    = errors.New("a number is out of range, or not a whole one")
	errTime     = errors.New("a time is not as of RFC 3339")
)

// Read has read take what b holds, which it must not keep. Its error is for the caller to put in other
// words: those of this package quote nothing of b, but one that was given to Fail may.
func Read(b []byte, read func(*Reader)) error {
	r := readers.Get().(*Reader)
	defer func() {
		*r = Reader{}
		readers.Put(r)
	}()
	r.b = b
	read(r)
	if !r.ended() {
		r.Fail(errTrailing)
	}
	return r.err
}

// ended says whether nothing but space is left.
func (r *Reader) ended() bool {
	r.peek()
	return r.at == len(r.b)
}

// Fail makes err the reader's, unless there is one, and leaves it nothing to read.
func (r *Reader) Fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b, r.at = nil, 0
}

// Object calls field with the name of each field; it is to read or skip the value.
func (r *Reader) Object(field func(name []byte)) {
	if !r.begin('{') {
		return
	}
	for more := r.first('}'); more; more = r.next('}') {
		if name := r.name(); name != nil {
			field(name)
		}
	}
}

// Array calls element before each element, which it is to read or skip. It returns false for null.
func (r *Reader) Array(element func()) bool {
	if !r.begin('[') {
		return false
	}
	for more := r.first(']'); more; more = r.next(']') {
		element()
	}
	return true
}

// List reads an array of at most so many elements; null is nil.
func List[T any](r *Reader, most int, element func(*T)) []T {
	list := []T{}
	if !r.Array(func() {
		if len(list) == most {
			r.Fail(ErrTooMany)
			return
		}
		var one T
		element(&one)
		list = append(list, one)
	}) {
		return nil
	}
	return list
}

// room is how many elements of about a size there may be yet.
func (r *Reader) room(size int) int { return 1 + (len(r.b)-r.at)/size }

// peek skips space and returns what comes after it; 0: nothing that JSON has a use for.
func (r *Reader) peek() byte {
	if r.at < len(r.b) && r.b[r.at] > ' ' {
		return r.b[r.at]
	}
	return r.skipSpace()
}

func (r *Reader) skipSpace() byte {
	for ; r.at < len(r.b); r.at++ {
		switch c := r.b[r.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

// begin steps into an object or array; false: it is null, or there is none.
func (r *Reader) begin(open byte) bool {
	if r.peek() != open {
		r.null()
		return false
	}
	r.at++
	if r.depth++; r.depth > maxDepth {
		r.Fail(errDepth)
		return false
	}
	return true
}

// first says whether an object or array that was begun has anything in it; otherwise it ends it.
func (r *Reader) first(end byte) bool {
	if r.peek() != end {
		return r.err == nil
	}
	r.end()
	return false
}

// next says whether another field or element comes; otherwise it ends the object or array.
func (r *Reader) next(end byte) bool {
	switch r.peek() {
	case ',':
		r.at++
		return true
	case end:
		r.end()
	default:
		r.Fail(errSyntax)
	}
	return false
}

func (r *Reader) end() {
	r.at++
	r.depth--
}

// name reads a name and the colon after it; nil: there is none.
func (r *Reader) name() []byte {
	if r.peek() != '"' {
		r.Fail(errSyntax)
		return nil
	}
	name := r.quoted()
	if r.peek() != ':' {
		r.Fail(errSyntax)
		return nil
	}
	r.at++
	return name
}

// Skip reads over a value.
func (r *Reader) Skip() {
	switch r.peek() {
	case '{':
		if r.begin('{') {
			for more := r.first('}'); more; more = r.next('}') {
				r.name()
				r.Skip()
			}
		}
	case '[':
		if r.begin('[') {
			for more := r.first(']'); more; more = r.next(']') {
				r.Skip()
			}
		}
	case '"':
		r.take(scanString(r.b[r.at:]))
	case 't':
		r.literal("true")
	case 'f':
		r.literal("false")
	case 'n':
		r.literal("null")
	case '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		r.take(document.Number(r.b[r.at:]))
	default:
		r.Fail(errSyntax)
	}
}

// take reads n bytes, which are a value; 0: there is none.
func (r *Reader) take(n int) []byte {
	if n == 0 {
		r.Fail(errSyntax)
		return nil
	}
	v := r.b[r.at : r.at+n]
	r.at += n
	return v
}

func (r *Reader) literal(s string) {
	if rest := r.b[r.at:]; len(rest) < len(s) || string(rest[:len(s)]) != s {
		r.Fail(errSyntax)
		return
	}
	r.at += len(s)
}

// Raw is a value as it is written, until the next is read; null is nil.
func (r *Reader) Raw() []byte {
	null := r.peek() == 'n'
	start := r.at
	if r.Skip(); null || r.err != nil {
		return nil
	}
	return r.b[start:r.at]
}
