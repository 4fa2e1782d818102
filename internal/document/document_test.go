package document_test

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/internal/document"
)

const large = 1 << 20

func nested(open, inner, end string, depth int) string {
	return strings.Repeat(open, depth) + inner + strings.Repeat(end, depth)
}

func check(doc string) error {
	return document.Check("result", []byte(doc), document.Rules{Bytes: large})
}

// Each problem is named, with the field, where it is and what is allowed, and quotes nothing of the document.
func TestProblems(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		"":                               "not JSON at byte 0",
		" ":                              "not JSON at byte 1",
		"secret":                         "not JSON at byte 0",
		`{"secret":1`:                    "not JSON at byte 11",
		`{"secret"}`:                     "not JSON at byte 9",
		`{"a":1,}`:                       "not JSON at byte 7",
		`{"a":1,"b"}`:                    "not JSON at byte 10",
		`{"a":1,"b":}`:                   "not JSON at byte 11",
		`{"a":1,"b":2`:                   "not JSON at byte 12",
		`[1,`:                            "not JSON at byte 3",
		`"\ud800`:                        "half of a surrogate pair",
		`"\ud800\`:                       "half of a surrogate pair",
		`"\ud800xudc00"`:                 "half of a surrogate pair",
		`"\ud800\ndc00"`:                 "half of a surrogate pair",
		`{"a":1]`:                        "not JSON at byte 6",
		`[1}`:                            "not JSON at byte 2",
		`[1 2]`:                          "not JSON at byte 3",
		`[1],`:                           "not JSON at byte 3",
		`1 1`:                            "not JSON at byte 2",
		`{1:1}`:                          "not JSON at byte 1",
		`"secret`:                        "not JSON at byte 7",
		`"\x"`:                           "not JSON at byte 1",
		`"\u12"`:                         "not JSON at byte 1",
		`"\u12g4"`:                       "not JSON at byte 1",
		"\"\x00\"":                       "not JSON at byte 1",
		"\"\n\"":                         "not JSON at byte 1",
		"{}\x00":                         "not JSON at byte 2",
		"01":                             "not JSON at byte 0",
		"-":                              "not JSON at byte 0",
		"\"\xff\"":                       "not UTF-8 at byte 1",
		"{\"\xc3\":1}":                   "not UTF-8 at byte 2",
		"\"\xed\xa0\x80\"":               "not UTF-8 at byte 1",
		`["\u0000"]`:                     `a string holds a NUL (\u0000) at byte 2, which is not allowed`,
		`{"\u0000":1}`:                   `a string holds a NUL (\u0000) at byte 2, which is not allowed`,
		`"\ud800"`:                       "half of a surrogate pair",
		`"\ud800\u0041"`:                 "half of a surrogate pair",
		`"\uD83D x"`:                     "half of a surrogate pair",
		`"\udc00"`:                       "half of a surrogate pair",
		"[1e309]":                        "a number at byte 1 is beyond ±1.8e308",
		"-1E+0400":                       "beyond ±1.8e308",
		strings.Repeat("9", 309):         "beyond ±1.8e308",
		`"\ud800\ud800"`:                 "half of a surrogate pair",
		nested("[", "", "]", 65):         "nested more than 64 levels deep at byte 64, 64 are allowed",
		nested(`{"a":`, "1", "}", 65):    "nested more than 64 levels deep",
		strings.Repeat("[", large):       "nested more than 64 levels deep",
		`"` + strings.Repeat("x", large): "1048577 bytes, at most 1048576 are allowed",
	} {
		err := check(doc)
		require.ErrorContains(t, err, "result: ", "%.40q", doc)
		require.ErrorContains(t, err, want, "%.40q", doc)
		require.NotContains(t, err.Error(), "secret")
		var found *document.Error
		require.ErrorAs(t, err, &found)
		require.Equal(t, len(doc) > large, found.TooLarge, "%.40q", doc)
	}
	for _, doc := range []string{
		"null", "true", " false ", "-0.5e+7", `"\\u0000"`, `"\ud83d\ude00 \u0001\u001f \u2028 é 😀"`, "\t[ ]\r\n", "{}",
		nested("[", "", "]", document.MaxDepth), nested(`{"a":`, "1", "}", document.MaxDepth), nested(`[{"a":`, "1", "}]", document.MaxDepth/2),
		"[" + strings.Repeat("[[]],", 1000) + "[]]", `"` + strings.Repeat("é", 1000) + `"`, "\"\uFFFD\"",
		"1.7976931348623157e308", "1e-400", strings.Repeat("9", 308), "0." + strings.Repeat("1", 400), "[" + strings.Repeat("0,", 400) + "1e0]",
	} {
		require.NoError(t, check(doc), "%.40q", doc)
	}
}

func TestObject(t *testing.T) {
	t.Parallel()
	object := document.Rules{Bytes: large, Object: true}
	for _, doc := range []string{"", "null", "[]", `"{}"`, "1"} {
		require.EqualError(t, document.Check("metadata", []byte(doc), object), "metadata: not a JSON object", doc)
	}
	require.NoError(t, document.Check("metadata", []byte("\r\n {}"), object))
	require.EqualError(t, document.Check("metadata", []byte("{"), object), "metadata: not JSON at byte 1")
}

func TestDepth(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]int{"1": 0, "[]": 1, `{"a":[1,{}],"b":{}}`: 3, nested("[", "", "]", 64): 64, `["\u0000\ud800` + "\xff" + `",1e400]`: 1} {
		depth, ok := document.Depth([]byte(doc))
		require.True(t, ok, doc)
		require.Equal(t, want, depth, doc)
	}
	for _, doc := range []string{"", "[", nested("[", "", "]", 65), nested("[", "", "]", 10_000)} {
		_, ok := document.Depth([]byte(doc))
		require.False(t, ok)
	}
}

// depthOf is how deep JSON that is valid is nested.
func depthOf(b []byte) int {
	depth, deepest := 0, 0
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	for {
		token, err := d.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
			deepest = max(deepest, depth)
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
	}
}

// FuzzCheck compares with encoding/json: what passes is JSON to it, survives it as it is, and what is refused is refused
// for one of the reasons that there are.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{
		"", "{}", `{"a":[1,-2.5e3,true,false,null,"\u00e9\n\"\\\/"]}`, `"\ud83d\ude00"`, `"\ud83d"`, `"\u0000"`, "\"\x00\"", "\"\xff\"", `{"a":1,"a":2}`,
		nested("[", "", "]", 64), nested("[", "", "]", 65), nested(`{"a":`, "1", "}", 100), `[1,`, `{"a"`, "[}", "{]", " [ ] ", "\"\u2028\"", `"\ud800\udbff"`, "1e", "[01]", "[1e309]", "1e-400",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		err := document.Check("x", b, document.Rules{Bytes: large})
		depth, ok := document.Depth(b)
		if json.Valid(b) {
			deep := depthOf(b)
			require.Equal(t, deep <= document.MaxDepth, ok)
			if ok {
				require.Equal(t, deep, depth)
			}
		} else {
			require.False(t, ok)
		}
		if err != nil {
			require.LessOrEqual(t, len(err.Error()), 200)
			return
		}
		require.True(t, json.Valid(b))
		require.True(t, utf8.Valid(b))
		var v any
		require.NoError(t, json.Unmarshal(b, &v))
		holds(t, v)
	})
}

// holds checks what strings of a document hold.
func holds(t *testing.T, v any) {
	switch v := v.(type) {
	case string:
		require.NotContains(t, v, "\x00")
	case []any:
		for _, one := range v {
			holds(t, one)
		}
	case map[string]any:
		for name, one := range v {
			holds(t, name)
			holds(t, one)
		}
	}
}

// Any text becomes text that passes, and text that passes stays as it is.
func TestMend(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := strings.Join(rapid.SliceOf(rapid.SampledFrom([]string{"plain", "\x00", "\xff", "é", "😀", "\xe2\x82", "…"})).Draw(t, "s"), "")
		most := rapid.IntRange(3, 40).Draw(t, "most")
		mended := document.Mend(s, most)
		if err := document.CheckText("reason", mended, most); err != nil {
			t.Fatalf("%q became %q: %v", s, mended, err)
		}
		if document.CheckText("reason", s, most) == nil && mended != s {
			t.Fatalf("%q became %q", s, mended)
		}
	})
	require.Equal(t, "a\uFFFDb\uFFFDc", document.Mend("a\x00b\xffc", 100))
	require.Equal(t, "abcdefg…", document.Mend("abcdefghijk", 10))
	require.Equal(t, "abcde…", document.Mend("abcde😀fghijk", 10), "a character is not cut in two")
}

func TestText(t *testing.T) {
	t.Parallel()
	for s, want := range map[string]string{
		"12345678901": "reason: 11 bytes, at most 10 are allowed", "a\x00": "reason: holds a NUL, which is not allowed", "a\xff": "reason: not UTF-8",
	} {
		require.EqualError(t, document.CheckText("reason", s, 10), want)
	}
	for _, s := range []string{"", "plain", "\x1b[31m\n", "é", `"\`} {
		require.NoError(t, document.CheckText("reason", s, 10), s)
	}
	for _, s := range []string{"\n", "\x7f", "\x00", "\xff", "é\t"} {
		require.Error(t, document.CheckName("id", s, 10), s)
	}
	require.NoError(t, document.CheckName("id", `é"\`, 10))
}
