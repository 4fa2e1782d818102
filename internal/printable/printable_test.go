package printable_test

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/printable"
)

func TestCut(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		s    string
		most int
		want string
	}{
		{"", 10, ""},
		{"not now", 7, "not now"},
		{"not now.", 7, "not …"},
		{"größer", 8, "größer"},
		{"größer", 7, "grö…"},
		{"a\nb\r\tc", 20, `a\nb\r\tc`},
		{"\x1b[2J", 20, `\x1b[2J`},
		{"\x00\x7f", 20, `\x00\x7f`},
		{"\u0085\u202e\u2028", 20, `\u0085\u202e\u2028`},
		{"\U000e0001", 20, `\U000e0001`},
		{"\xff\xfe", 20, `\xff\xfe`},
		{"\ufffd", 20, "\ufffd"},
		{"\x1b\x1b", 8, `\x1b\x1b`},
		{"\x1b\x1b\x1b", 8, `\x1b…`},
		{`C:\temp`, 20, `C:\temp`},
	} {
		require.Equal(t, test.want, printable.Cut(test.s, test.most), "%q, at most %d", test.s, test.most)
	}
}

func FuzzCut(f *testing.F) {
	f.Add("plain", 3)
	f.Add("\x1b\xff\u202e", 9)
	f.Fuzz(func(t *testing.T, s string, most int) {
		if most < 8 || most > 1<<16 {
			return
		}
		got := printable.Cut(s, most)
		if len(got) > most || !utf8.ValidString(got) {
			t.Fatalf("%q has %d bytes, at most %d are allowed", got, len(got), most)
		}
		if i := strings.IndexFunc(got, func(r rune) bool { return !unicode.IsGraphic(r) }); i >= 0 {
			t.Fatalf("%q holds %q", got, got[i:])
		}
		if again := printable.Cut(got, most); again != got {
			t.Fatalf("%q becomes %q the second time", got, again)
		}
	})
}
