package pattern_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/pattern"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for p, test := range map[string]struct{ is, isNot []string }{
		"vm-1":        {[]string{"vm-1"}, []string{"vm-10", "xvm-1", "VM-1", ""}},
		"":            {[]string{""}, []string{"vm"}},
		"pool-*":      {[]string{"pool-", "pool-a"}, []string{"pool", "pool-a/b", "pool-/", "xpool-a"}},
		"*":           {[]string{"", "vm-1", "ä"}, []string{"a/b", "/"}},
		"**":          {[]string{"", "vm-1", "a/b/c", "ä/ö", "\xff"}, nil},
		"***":         {[]string{"", "vm-1", "a/b/c"}, nil},
		"pool/**":     {[]string{"pool/a", "pool/a/b", "pool/"}, []string{"pool", "pools/a"}},
		"*/x**":       {[]string{"a/x", "a/xy/z", "/x"}, []string{"a/b/x", "x"}},
		"**/x":        {[]string{"a/x", "a/b/x", "/x"}, []string{"x", "a/xy"}},
		"a**b":        {[]string{"ab", "a-b", "a/b", "a/b/b"}, []string{"a/b/", "xab"}},
		"a*b**c*d":    {[]string{"abcd", "a1b2/3c4d", "abxc/cd"}, []string{"a/bcd", "abc/d", "acbd"}},
		"*a*b":        {[]string{"aab", "abab"}, []string{"ba", "a/b"}},
		"**a*b":       {[]string{"x/a1b", "a/ab"}, []string{"a/b", "ab/"}},
		"a*b*c":       {[]string{"a-b-c-b-c", "abc"}, []string{"acb"}},
		"a.c":         {[]string{"a.c"}, []string{"abc"}},
		"[a-z]":       {[]string{"[a-z]"}, []string{"a"}},
		"?":           {[]string{"?"}, []string{"a"}},
		`\*`:          {[]string{`\`, `\a`}, []string{"*"}},
		"ä*":          {[]string{"ä", "äb"}, []string{"\xc3"}},
		"pool-1/vm-1": {[]string{"pool-1/vm-1"}, []string{"pool-1", "pool-1/vm-10"}},
	} {
		for _, name := range test.is {
			require.True(t, pattern.Match(p, name), "%q %q", p, name)
		}
		for _, name := range test.isNot {
			require.False(t, pattern.Match(p, name), "%q %q", p, name)
		}
	}
}

// The worst that a pattern can ask for is the product of the lengths: it ends, where backtracking would not.
func TestMatchOfManyStars(t *testing.T) {
	t.Parallel()
	name := strings.Repeat("a", 128)
	require.False(t, pattern.Match(strings.Repeat("a*", 63)+"b", name))
	require.False(t, pattern.Match(strings.Repeat("**a*a", 25)+"b", name))
	require.True(t, pattern.Match(strings.Repeat("*a**", 31), name))
}

func TestCheckFormer(t *testing.T) {
	t.Parallel()
	for _, p := range []string{"", "vm-1", "pool-*", "**", "a/b{c}!^-", "ä"} {
		require.NoError(t, pattern.CheckFormer(p))
	}
	for _, p := range []string{"zone-?", "vm-[0-9]", "]", `vm-\*`} {
		require.ErrorContains(t, pattern.CheckFormer(p), "no longer special", p)
	}
}

// naive is the grammar written down: it tries everything.
func naive(p, name string) bool {
	if p == "" {
		return name == ""
	}
	if p[0] != '*' {
		return name != "" && name[0] == p[0] && naive(p[1:], name[1:])
	}
	rest, slashes := p[1:], false
	if strings.HasPrefix(rest, "*") {
		rest, slashes = strings.TrimLeft(rest, "*"), true
	}
	for i := 0; ; i++ {
		if naive(rest, name[i:]) {
			return true
		}
		if i == len(name) || name[i] == '/' && !slashes {
			return false
		}
	}
}

// FuzzMatch compares with the naive reference.
func FuzzMatch(f *testing.F) {
	for _, seed := range [][2]string{
		{"a*b*c", "a-b-c-b-c"},
		{"**", ""},
		{"*a*", "bab"},
		{"pool-*", "pool-7"},
		{"pool-*", "pool-a/1"},
		{"ab*", "a*b"},
		{"**a*b", "a/ab"},
		{"*/x**", "a/xy/z"},
		{"a**b*c", "a/b/bc"},
		{"***", "/"},
		{"[a-z]?", "ab"},
		{"ä*ö", "ä/ö"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, p, name string) {
		if strings.Count(p, "*") > 6 || len(name) > 40 {
			return // the reference takes exponential time
		}
		require.Equal(t, naive(p, name), pattern.Match(p, name), "%q of %q", p, name)
	})
}

// FuzzMatchSmall draws from the few characters that matter, so that random input matches often enough.
func FuzzMatchSmall(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3, 4, 5}, []byte{0, 1, 2, 3})
	f.Add([]byte{4, 4, 0, 4, 1}, []byte{0, 3, 0, 1})
	f.Fuzz(func(t *testing.T, p, name []byte) {
		if len(p) > 10 || len(name) > 14 {
			return
		}
		draw := func(from string, b []byte) string {
			out := make([]byte, len(b))
			for i, c := range b {
				out[i] = from[int(c)%len(from)]
			}
			return string(out)
		}
		ps, ns := draw("abc/**", p), draw("abc/", name)
		require.Equal(t, naive(ps, ns), pattern.Match(ps, ns), "%q of %q", ps, ns)
	})
}
