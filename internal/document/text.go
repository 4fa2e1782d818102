package document

import (
	"fmt"
	"strings"
	"unicode/utf8"
)

// Replacement stands for what Mend has taken out.
const Replacement = "\uFFFD"

// CheckText returns nil for text for people that everybody can read, and else an *Error: it has at most so many bytes, is
// UTF-8, and holds no NUL.
func CheckText(field, s string, most int) error {
	switch {
	case len(s) > most:
		return &Error{Field: field, Problem: fmt.Sprintf("%d bytes, at most %d are allowed", len(s), most), TooLarge: true}
	case Plain([]byte(s)) == len(s): // as nearly all; the conversion copies nothing
		return nil
	case !utf8.ValidString(s):
		return &Error{Field: field, Problem: "not UTF-8"}
	case strings.IndexByte(s, 0) >= 0:
		return &Error{Field: field, Problem: "holds a NUL, which is not allowed"}
	}
	return nil
}

// CheckName is CheckText for what fits a header, a subject and a line of a log: it holds no control character either.
func CheckName(field, s string, most int) error {
	if err := CheckText(field, s, most); err != nil {
		return err
	}
	for i := range len(s) {
		// C1 (U+0080 to U+009F) is written as 0xc2 and one more byte, and terminals obey it, too.
		if c := s[i]; c < 0x20 || c == 0x7f || c == 0xc2 && s[i+1] < 0xa0 {
			return &Error{Field: field, Problem: fmt.Sprintf("%.40q holds a control character", s)}
		}
	}
	return nil
}

// Mend makes of any text one that CheckText takes: what is not UTF-8, and NULs, become Replacement. What is too much is
// cut off between two characters, and then the text ends with an ellipsis.
func Mend(s string, most int) string {
	const ellipsis = "…"
	short := s
	if len(s) > most { // before anything is mended, however much there is
		short = cut(s, most-len(ellipsis))
	}
	short = strings.ReplaceAll(strings.ToValidUTF8(short, Replacement), "\x00", Replacement)
	switch {
	case len(s) <= most && len(short) <= most:
		return short
	case len(short) > most-len(ellipsis): // a replacement is longer than what it stands for
		short = cut(short, most-len(ellipsis))
	}
	return short + ellipsis
}

// cut returns at most so many bytes of s, without a character of which only a part would be left.
func cut(s string, most int) string {
	end := min(len(s), most)
	for i := end; i > end-utf8.UTFMax && 0 <= i && i < len(s); i-- {
		if utf8.RuneStart(s[i]) {
			return s[:i]
		}
	}
	return s[:end]
}
