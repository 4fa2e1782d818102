package document_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/document"
)

func TestSalvage(t *testing.T) {
	t.Parallel()
	deep := nested("[", "", "]", 10_000)
	for in, want := range map[string]string{
		`{"a":1,"result":` + deep + `,"b":{"c":[2]}}`:                             `{"a":1,"b":{"c":[2]}} result`,
		`{"a":1, "result":` + deep + `}`:                                          `{"a":1} result`,
		`{"result":` + deep + `,"b":2}`:                                           `{"b":2} result`,
		`{ "result" : ` + deep + ` } `:                                            `{} result`,
		`{"id":"x","command":{"id":"c","parameters":` + deep + `,"urgent":true}}`: `{"id":"x","command":{"id":"c","urgent":true}} command.parameters`,
		`{"command":{"parameters":` + deep + `},"result":` + deep + `,"a":"]}"}`:  `{"command":{},"a":"]}"} command.parameters result`,
		`{"other":{"parameters":` + deep + `}}`:                                   `{} other`,
		`{"result":"` + "\\\"[{" + `","b":` + deep + `}`:                          `{"result":"\"[{"} b`,
		`{"a":bad,"b":1}`: `{"b":1} a`,
	} {
		out, left, ok := document.Salvage([]byte(in), "command")
		require.True(t, ok, "%.60s", in)
		require.Equal(t, want, string(out)+" "+strings.Join(left, " "), "%.60s", in)
	}
	for _, in := range []string{"", "{", "[]", `{"a":1}`, `{"a":1`, `{"a":` + deep, `{"a":` + deep + `}}`, `{"a":` + deep + `} x`, `{"command":7,"a":` + deep + "}", `{"a" 1}`, `{a:1}`, `{,"a":` + deep + "}", `{"a":` + deep + `,,"b":1}`, `{"command":{} "a":` + deep + "}", `{"a":"x`} {
		_, _, ok := document.Salvage([]byte(in), "command")
		require.False(t, ok, "%.60s", in)
	}
}

// FuzzSalvage: of any object at all what is salvaged is JSON, and holds nothing that is nested too deep.
func FuzzSalvage(f *testing.F) {
	f.Add([]byte(`{"a":1,"command":{"b":` + nested("[", "", "]", 65) + `,"c":[{}]},"d":"x"}`))
	f.Add([]byte(`{"a":{"a":1,"b":],"c":"\"}`))
	f.Add([]byte(`{,}`))
	f.Add([]byte(`{"a":1,,"b":[[}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		out, _, ok := document.Salvage(b, "command")
		if !ok {
			return
		}
		require.True(t, json.Valid(out), "%q", out)
		depth, ok := document.Depth(out)
		require.True(t, !ok || depth <= document.MaxDepth)
		require.LessOrEqual(t, len(out), len(b))
	})
}
