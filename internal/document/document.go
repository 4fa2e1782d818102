// Package document says what is wrong with JSON that a user or a peer has made: the parameters of a command, the result
// of an ack, the metadata of an event. Every way in asks it, so that what one end accepts every other can read: each
// transport, the ledger, the agent's journal, the admin API, and readers in other languages.
package document

import (
	"fmt"
	"unicode/utf8"
)

// MaxDepth is how many objects and arrays may stand within each other, the outermost included. Readers have limits of
// their own, encoding/json of 10,000 and Protocol Buffers of 100 outside of Go, and what carries a document adds
// levels: it has to be far below all of them. It is the size of a word, see scanner.
const MaxDepth = 64

// Rules are what a document has to keep, beside being JSON.
type Rules struct {
	Bytes  int  // how many it may have
	Object bool // it has to be an object
}

// Error is what is wrong with a document. It quotes nothing of it, for it may hold secrets.
type Error struct {
	Field    string // that holds the document
	Problem  string // for people: what was found, and what is allowed
	TooLarge bool   // it has too many bytes
}

func (e *Error) Error() string { return e.Field + ": " + e.Problem }

// Check returns nil for a document that everybody can read, and else an *Error: it is within the rules, is JSON, is not
// nested deeper than MaxDepth, is UTF-8, its strings hold no NUL (which PostgreSQL and C take for an end) and no half
// of a surrogate pair (which is no character), and its numbers are in the range of a float64 (beyond which many readers,
// encoding/json one of them, refuse the whole document). It reads a document once, and stops at the first problem.
func Check(field string, doc []byte, r Rules) error {
	if len(doc) > r.Bytes {
		return &Error{Field: field, Problem: fmt.Sprintf("%d bytes, at most %d are allowed", len(doc), r.Bytes), TooLarge: true}
	}
	s := scanner{doc: doc}
	if r.Object && s.peek() != '{' {
		return &Error{Field: field, Problem: "not a JSON object"}
	}
	if f := s.scan(); f != none {
		return &Error{Field: field, Problem: s.describe(f)}
	}
	return nil
}

// Depth is how deep a document is nested; ok is false where it is not JSON, or nested deeper than MaxDepth. What its
// strings hold is not looked at: this is for documents that were accepted before Check was there.
func Depth(doc []byte) (depth int, ok bool) {
	s := scanner{doc: doc, lax: true}
	f := s.scan()
	return s.deepest, f == none
}

// flaw is a kind of problem.
type flaw uint8

const (
	none flaw = iota
	notJSON
	tooDeep
	notUTF8
	holdsNUL
	halfPair
	tooGreat
)

// describe says where in the document a flaw was found. Positions quote nothing.
func (s *scanner) describe(f flaw) string {
	switch f {
	case tooDeep:
		return fmt.Sprintf("nested more than %d levels deep at byte %d, %d are allowed", MaxDepth, s.at, MaxDepth)
	case notUTF8:
		return fmt.Sprintf("not UTF-8 at byte %d", s.at)
	case holdsNUL:
		return fmt.Sprintf(`a string holds a NUL (\u0000) at byte %d, which is not allowed`, s.at)
	case halfPair:
		return fmt.Sprintf(`a string holds half of a surrogate pair (\ud800 to \udfff) at byte %d, which is no character`, s.at)
	case tooGreat:
		return fmt.Sprintf("a number at byte %d is beyond ±1.8e308, the range of a 64-bit float", s.at)
	default:
		return fmt.Sprintf("not JSON at byte %d", s.at)
	}
}

// scanner reads one document from front to back. It does not call itself for what is nested, so that no document takes
// stack: what surrounds the place it is at fits one word, a bit for each level.
type scanner struct {
	doc     []byte
	at      int    // next byte; at a flaw, the byte that has it
	objects uint64 // of each level around, the innermost in the lowest bit: 1 is an object, 0 an array
	depth   int    // how many levels there are around
	deepest int    // and were at most
	lax     bool   // strings and numbers may hold anything that json.Valid takes
}

// scan reads the whole document: a value, and in what it is part of the next, until nothing surrounds it.
func (s *scanner) scan() flaw {
	for {
		if f, more := s.value(); f != none {
			return f
		} else if more {
			continue // it has begun an object or array that is not empty, whose first value comes next
		}
		f, more := s.after()
		if f != none || !more {
			return f
		}
	}
}

// value reads a value, or the beginning of one that holds others; then more is true, and its first value comes next.
func (s *scanner) value() (f flaw, more bool) {
	switch c := s.peek(); c {
	case '{', '[':
		return s.begin(c)
	case '"':
		return s.text(), false
	case 't':
		return s.literal("true"), false
	case 'f':
		return s.literal("false"), false
	case 'n':
		return s.literal("null"), false
	default:
		return s.number(), false
	}
}

// begin steps into an object or array.
func (s *scanner) begin(c byte) (f flaw, more bool) {
	if s.depth == MaxDepth {
		return tooDeep, false
	}
	s.at++
	s.depth++
	s.deepest = max(s.deepest, s.depth)
	s.objects <<= 1
	end := byte(']')
	if c == '{' {
		s.objects |= 1
		end = '}'
	}
	if s.peek() == end {
		s.end()
		return none, false
	}
	if c == '{' {
		return s.name(), true
	}
	return none, true
}

func (s *scanner) end() {
	s.at++
	s.depth--
	s.objects >>= 1
}

// after reads what follows a value: the ends of what it was the last of, and a comma, after which more is true.
func (s *scanner) after() (f flaw, more bool) {
	for s.depth > 0 {
		c := s.peek()
		inObject := s.objects&1 == 1
		switch {
		case c == ',' && inObject:
			s.at++
			return s.name(), true
		case c == ',':
			s.at++
			return none, true
		case c == '}' && inObject, c == ']' && !inObject:
			s.end()
		default:
			return notJSON, false
		}
	}
	if s.peek(); s.at < len(s.doc) { // something follows the document
		return notJSON, false
	}
	return none, false
}

// name reads the name of a field, and its colon.
func (s *scanner) name() flaw {
	if s.peek() != '"' {
		return notJSON
	}
	if f := s.text(); f != none {
		return f
	}
	if s.peek() != ':' {
		return notJSON
	}
	s.at++
	return none
}

// peek skips white space and returns the byte after it; 0 is the end, or a byte that JSON has no use for either.
func (s *scanner) peek() byte {
	for ; s.at < len(s.doc); s.at++ {
		switch c := s.doc[s.at]; c {
		case ' ', '\t', '\r', '\n':
		default:
			return c
		}
	}
	return 0
}

func (s *scanner) literal(want string) flaw {
	if rest := s.doc[s.at:]; len(rest) < len(want) || string(rest[:len(want)]) != want {
		return notJSON
	}
	s.at += len(want)
	return none
}

// text reads a string, which comes next.
func (s *scanner) text() flaw {
	s.at++
	for {
		s.at += Plain(s.doc[s.at:])
		if s.at >= len(s.doc) {
			return notJSON
		}
		switch c := s.doc[s.at]; {
		case c == '"':
			s.at++
			return none
		case c == '\\':
			if f := s.escape(); f != none {
				return f
			}
		case c < ' ':
			return notJSON
		default: // not ASCII, or Plain would have passed it
			r, size := utf8.DecodeRune(s.doc[s.at:])
			if r == utf8.RuneError && size == 1 && !s.lax {
				return notUTF8
			}
			s.at += size
		}
	}
}

// escape reads a backslash and what it is for.
func (s *scanner) escape() flaw {
	rest := s.doc[s.at:]
	if len(rest) < 2 {
		return notJSON
	}
	switch rest[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at += 2
		return none
	case 'u':
	default:
		return notJSON
	}
	unit, ok := hex(rest[2:])
	switch {
	case !ok:
		return notJSON
	case s.lax || unit != 0 && (unit < 0xd800 || unit > 0xdfff):
		s.at += sizeOfUnit
		return none
	case unit == 0:
		return holdsNUL
	case unit >= 0xdc00: // a second half without the first
		return halfPair
	}
	if rest = rest[sizeOfUnit:]; len(rest) < 2 || rest[0] != '\\' || rest[1] != 'u' {
		return halfPair
	}
	if low, ok := hex(rest[2:]); !ok || low < 0xdc00 || low > 0xdfff {
		return halfPair
	}
	s.at += 2 * sizeOfUnit
	return none
}

const sizeOfUnit = len(`\u0000`)

// hex is the four digits that b begins with.
func hex(b []byte) (n uint16, ok bool) {
	if len(b) < 4 {
		return 0, false
	}
	for _, c := range b[:4] {
		switch {
		case IsDigit(c):
			c -= '0'
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			c = c | 0x20 - 'a' + 10
		default:
			return 0, false
		}
		n = n<<4 | uint16(c)
	}
	return n, true
}
