package document

import "strconv"

// number reads a number, which comes next if anything of JSON does.
func (s *scanner) number() flaw {
	n := Number(s.doc[s.at:])
	if n == 0 {
		return notJSON
	}
	if text := s.doc[s.at : s.at+n]; !s.lax && mayBeTooGreat(text) {
		if _, err := strconv.ParseFloat(string(text), 64); err != nil {
			return tooGreat
		}
	}
	s.at += n
	return none
}

// mayBeTooGreat spares nearly all numbers a conversion: without an exponent it takes 309 digits.
func mayBeTooGreat(number []byte) bool {
	if len(number) >= 309 {
		return true
	}
	for _, c := range number {
		if c|0x20 == 'e' {
			return true
		}
	}
	return false
}

// Number returns how long the JSON number is that b begins with; 0: there is none.
func Number(b []byte) int {
	n := 0
	if len(b) > 0 && b[0] == '-' {
		n = 1
	}
	whole := Digits(b[n:])
	if whole == 0 || whole > 1 && b[n] == '0' {
		return 0
	}
	n += whole
	if n < len(b) && b[n] == '.' {
		digits := Digits(b[n+1:])
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
		digits := Digits(b[n:])
		if digits == 0 {
			return 0
		}
		n += digits
	}
	return n
}

// Digits returns how many digits b begins with.
func Digits(b []byte) int {
	n := 0
	for n < len(b) && IsDigit(b[n]) {
		n++
	}
	return n
}

// IsDigit says whether c is a digit.
func IsDigit(c byte) bool { return '0' <= c && c <= '9' }
