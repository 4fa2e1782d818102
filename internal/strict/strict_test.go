package strict_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/strict"
)

type order struct {
	ID         string             `json:"id"`
	VM         string             `json:"vm_id"`
	TTL        command.Duration   `json:"ttl,omitzero"`
	Urgent     bool               `json:"urgent"`
	Count      int                `json:"count"`
	Parameters command.Parameters `json:"parameters"`
	Hidden     string             `json:"-"`
	Inner      struct {
		Reason string `json:"reason"`
	} `json:"inner"`
}

// What a lenient reader ignores or mends is refused, in words that name the field, and no value.
func TestRefused(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		``:                                     "not JSON at byte 0",
		`{"id":"a"`:                            "not JSON at byte 9",
		`{"id":"a"} x`:                         "something follows the JSON value, at byte 11",
		`{"id":"a"}{"id":"b"}`:                 "something follows the JSON value, at byte 10",
		`[]`:                                   "a JSON array, where an object is wanted",
		`{"tll":"s3cret"}`:                     `there is no field "tll", did you mean "ttl"? There are: id, vm_id, ttl, urgent, count, parameters, inner`,
		`{"ID":"s3cret"}`:                      `there is no field "ID", did you mean "id"?`,
		`{"parameter":{}}`:                     `did you mean "parameters"?`,
		`{"vm":"s3cret"}`:                      `did you mean "vm_id"?`,
		`{"expires_at":"s3cret"}`:              `there is no field "expires_at". There are: id,`,
		`{"Hidden":"s3cret"}`:                  `there is no field "Hidden".`,
		`{"inner":{"reson":"s3cret"}}`:         `there is no field "reson", did you mean "reason"? There are: reason`,
		`{"a\nb":1}`:                           `there is no field "a\nb"`,
		`{"id":"a","id":"s3cret"}`:             `the field "id" is there twice`,
		`{"id":"a","\u0069d":"s3cret"}`:        `the field "id" is there twice`,
		`{"parameters":{"x":1,"x":2}}`:         `the field "x" is there twice`,
		`{"parameters":{"y":[{"x":1,"x":2}]}}`: `the field "x" is there twice`,
		`{"id":"\ud800"}`:                      "half a surrogate pair",
		`{"id":"a\udc00\ud800"}`:               "half a surrogate pair",
		"{\"id\":\"\xff\"}":                    "not UTF-8",
		`{"\ud800":1}`:                         "half a surrogate pair",
		`{"parameters":{"x":"\ud800"}}`:        "half a surrogate pair",
		`{"id":7}`:                             `the field "id" is a JSON number, where a string is wanted`,
		`{"urgent":"s3cret"}`:                  `the field "urgent" is a JSON string, where true or false is wanted`,
		`{"count":"s3cret"}`:                   `the field "count" is a JSON string, where a number in range is wanted`,
		`{"count":1e99}`:                       `where a number in range is wanted`,
		`{"ttl":"s3cret"}`:                     `the field "ttl": a duration is neither text like "30s" nor a number of seconds`,
	} {
		err := strict.Unmarshal([]byte(doc), &order{})
		require.ErrorContains(t, err, want, doc)
		require.NotContains(t, err.Error(), "s3cret", doc)
	}
}

func TestRead(t *testing.T) {
	t.Parallel()
	var o order
	require.NoError(t, strict.Unmarshal([]byte(` {"id":"\ud83d\ude00","vm_id":"vm","ttl":90,"urgent":true,"parameters":{"n":9007199254740993},"inner":{"reason":"é"}} `+"\n"), &o))
	require.Equal(t, "😀", o.ID)
	require.Equal(t, "1m30s", o.TTL.String())
	require.JSONEq(t, `{"n":9007199254740993}`, string(o.Parameters))
	require.Equal(t, "é", o.Inner.Reason)
	o = order{}
	require.NoError(t, strict.Unmarshal([]byte(`{"parameters":null}`), &o))
	require.Equal(t, "{}", string(o.Parameters))
}

func TestNearest(t *testing.T) {
	t.Parallel()
	known := []string{"ack-deadline", "listen", "keepalive", "vm_id", "ttl"}
	for name, want := range map[string]string{
		"lsiten": "listen", "Listen": "listen", "keep-alive": "keepalive", "ack_deadline": "ack-deadline", "vm": "vm_id", "tl": "ttl",
		"": "", "zzz": "", "frobnicate": "", "x": "",
	} {
		require.Equal(t, want, strict.Nearest(name, known), name)
	}
	require.EqualError(t, strict.Unknown("flag", "x", nil), `there is no flag "x": none is taken here`)
}
