// Package printable makes text that a peer has sent safe to log and to show: it is short, and on one line.
package printable

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// ellipsis ends text that was cut.
const ellipsis = "…"

// Cut returns s with everything that is not graphic written as an escape (\n, \x1b, \u202e), so that it can neither
// begin a line nor steer a terminal, and with at most most bytes of the result. Text that is longer ends with "…". It
// looks at no more of s than it returns, however long s is.
func Cut(s string, most int) string {
	if len(s) <= most && plain(s) {
		return s
	}
	var b strings.Builder
	room := most - len(ellipsis)
	for i, r := range s {
		piece := escape(s[i:], r)
		if b.Len()+len(piece) > room && !fits(s[i:], most-b.Len()) {
			b.WriteString(ellipsis)
			break
		}
		b.WriteString(piece)
	}
	return b.String()
}

// plain reports whether s is printable ASCII, as nearly all text is.
func plain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// fits reports whether the rest of a text takes at most room bytes once it is escaped.
func fits(rest string, room int) bool {
	for i, r := range rest {
		if room -= len(escape(rest[i:], r)); room < 0 {
			return false
		}
	}
	return true
}

// escape is how r, the first rune of s, is shown. A byte that is not UTF-8 is a RuneError of one byte.
func escape(s string, r rune) string {
	switch {
	case r == utf8.RuneError && !strings.HasPrefix(s, string(utf8.RuneError)):
		return fmt.Sprintf(`\x%02x`, s[0])
	case unicode.IsGraphic(r):
		return s[:utf8.RuneLen(r)]
	case r == '\n':
		return `\n`
	case r == '\r':
		return `\r`
	case r == '\t':
		return `\t`
	case r < 0x80:
		return fmt.Sprintf(`\x%02x`, r)
	case r < 0x10000:
		return fmt.Sprintf(`\u%04x`, r)
	}
	return fmt.Sprintf(`\U%08x`, r)
}
