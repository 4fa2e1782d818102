package command_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

// numbers are such that a float64 does not hold every digit of them, and such that it does.
var numbers = []string{
	"9007199254740993", "-9007199254740993", "9223372036854775807", "18446744073709551615", "123456789012345678901234567890",
	"1.50", "0.1000000000000000055511151231257827", "1E5", "1e-400", "1.7976931348623157e308", "-0", "0", "7",
}

// level has what a handler's own types may have.
type level struct {
	Any    any              `json:"any"`
	Map    map[string]any   `json:"map"`
	Nested []map[string]any `json:"nested"`
	Exact  int64            `json:"exact"`
	*Inner
}

// Inner is a part of it.
type Inner struct {
	Within struct {
		List []any `json:"list"`
	} `json:"within"`
}

func (level) CommandType() command.Type { return "level" }
func (level) Validate() error           { return nil }

// What a handler is given of a number is every digit of it, wherever it stands.
func TestNumbersAreExact(t *testing.T) {
	t.Parallel()
	for _, n := range numbers {
		config, err := command.NewRaw(command.TypeUpdateConfig, command.Parameters(`{"config_key":"k","config_value":{"a":[`+n+`]}}`), command.Options{})
		require.NoError(t, err)
		c, err := command.Decode[command.UpdateConfig](config)
		require.NoError(t, err)
		require.Equal(t, map[string]any{"a": []any{json.Number(n)}}, c.ConfigValue)
		again, err := command.New(c, command.Options{})
		require.NoError(t, err)
		require.Equal(t, string(config.Parameters), string(again.Parameters), "and so is what is made of it")

		doc := strings.ReplaceAll(`{"any":N,"map":{"a":{"b":N}},"nested":[{"c":[N]}],"exact":9007199254740993,"within":{"list":[N]}}`, "N", n)
		own, err := command.NewRaw("level", command.Parameters(doc), command.Options{})
		require.NoError(t, err)
		l, err := command.Decode[level](own)
		require.NoError(t, err)
		back, err := json.Marshal(l)
		require.NoError(t, err)
		require.Equal(t, doc, string(back))
		var free any
		require.NoError(t, own.Parameters.Decode(&free))
		require.Equal(t, json.Number(n), free.(map[string]any)["any"])
	}
}

// What is wrong with parameters is told as ever.
func TestNumbersInBadParameters(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`{"any":1`:         "not JSON at byte 8",
		`{"any":1}1`:       "not JSON at byte 10",
		`{"any":1,}`:       "not JSON at byte 10",
		`{"exact":"1"}`:    "exact is a JSON string, not a int64",
		`{"exact":1.5}`:    "exact is a JSON number, not a int64",
		`{"nested":["1"]}`: "nested is a JSON string, not a map[string]interface {}",
	} {
		var l level
		err := command.Parameters(doc).Decode(&l)
		require.ErrorIs(t, err, command.ErrInvalid)
		require.ErrorContains(t, err, want, doc)
	}
	require.NoError(t, command.Parameters(nil).Decode(&level{}))
}
