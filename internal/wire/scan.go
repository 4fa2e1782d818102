package wire

// scanString returns how long the string is that b begins with, quotes included; 0: there is none.
func scanString(b []byte) int {
	n := 1
	for {
		n += plain(b[n:])
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
			if !isDigit(c) && (c|0x20 < 'a' || 'f' < c|0x20) {
				return 0
			}
		}
		return size
	}
	return 0
}

// scanNumber returns how long the number is that b begins with; 0: there is none.
func scanNumber(b []byte) int {
	n := 0
	if b[0] == '-' {
		n = 1
	}
	whole := scanDigits(b[n:])
	if whole == 0 || whole > 1 && b[n] == '0' {
		return 0
	}
	n += whole
	if n < len(b) && b[n] == '.' {
		digits := scanDigits(b[n+1:])
		if digits == 0 {
			return 0
		}
		n += 1 + digits
	}
	if n < len(b) && b[n]|0x20 == 'e' {
		n++
		if n < len(b) && (b[n] == '+' || b[n] == '-') {
			n++
		}
		digits := scanDigits(b[n:])
		if digits == 0 {
			return 0
		}
		n += digits
	}
	return n
}

func scanDigits(b []byte) int {
	n := 0
	for n < len(b) && isDigit(b[n]) {
		n++
	}
	return n
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
