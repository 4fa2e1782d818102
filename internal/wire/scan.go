package wire

import "github.com/miglink/miglink/internal/document"

// scanString returns how long the string is that b begins with, quotes included; 0: there is none.
func scanString(b []byte) int {
	n := 1
	for {
		n += document.Plain(b[n:])
		if n == len(b) || b[n] < ' ' {
			return 0
		}
		switch b[n] {
		case '"':
			return n + 1
		case '\\':
			escape := scanEscape(b[n:])
			if escape == 0 {
				return 0
			}
			n += escape
		default: // not ASCII
			n++
		}
	}
}

// scanEscape returns how long the escape is that b begins with; 0: it is none.
func scanEscape(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		const size = len(`\u0000`)
		if len(b) < size {
			return 0
		}
		for _, c := range b[2:size] {
			if !document.IsDigit(c) && (c|0x20 < 'a' || 'f' < c|0x20) {
				return 0
			}
		}
		return size
	}
	return 0
}
