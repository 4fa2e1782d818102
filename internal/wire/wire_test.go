package wire_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/internal/wirejson"
	"github.com/miglink/miglink/transport"
)

var text = rapid.OneOf(rapid.String(), rapid.SampledFrom([]string{"", "c-1", "\x00\"\\/<>&", "\r\n", "\u2028", "😀", "\xff"}))

var when = rapid.Custom(func(t *rapid.T) time.Time {
	at := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "s"), rapid.Int64Range(0, 999_999_999).Draw(t, "ns"))
	return rapid.SampledFrom([]time.Time{{}, at.UTC(), at.In(time.FixedZone("", 3600))}).Draw(t, "at")
})

var raw = rapid.SampledFrom([]string{"", "{}", `{"a":[1,"\n",null]}`, "{\"a\":\r\n1}", `"x"`, "7"})

// What is written is what encoding/json writes of the same, and reads as it reads it.
func TestAsTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		a := ack.Ack{
			CommandID: text.Draw(t, "id"), Stage: ack.Stage(text.Draw(t, "stage")), Attempt: rapid.Int().Draw(t, "attempt"), Time: when.Draw(t, "time"),
			Code: ack.Code(text.Draw(t, "code")), Reason: text.Draw(t, "reason"), Run: text.Draw(t, "run"), Again: rapid.Bool().Draw(t, "again"), CreatedAt: time.UnixMilli(rapid.SampledFrom([]int64{0, 1_700_000_000_123}).Draw(t, "created")).UTC(), EndsIn: rapid.Uint64().Draw(t, "ends in"), RetryAfter: rapid.Float64().Draw(t, "retry"),
		}
		if r := raw.Draw(t, "result"); r != "" {
			a.Result = json.RawMessage(r)
		}
		b, err := wire.Acks(nil, []ack.Ack{a})
		require.NoError(t, err)
		want, err := wirejson.Marshal([]ack.Ack{a})
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(b))
		require.NotContains(t, string(b), "\n")
		var acks, wanted []ack.Ack
		require.NoError(t, wire.Read(want, func(r *wire.Reader) { acks = wire.ReadAcks(r) }))
		require.NoError(t, json.Unmarshal(b, &wanted))
		require.Equal(t, wanted, acks)
	})
	rapid.Check(t, func(t *rapid.T) {
		d := transport.Delivery{
			Cursor: transport.Cursor(text.Draw(t, "cursor")), Attempt: rapid.Int().Draw(t, "attempt"), Started: rapid.Bool().Draw(t, "started"),
			AckWithin: command.Duration(rapid.Int64().Draw(t, "within")), ExpiresIn: rapid.Uint64().Draw(t, "expires in"),
			Command: command.Command{
				ID: text.Draw(t, "id"), Type: command.Type(text.Draw(t, "type")), Parameters: command.Parameters(raw.Draw(t, "parameters")),
				CreatedAt: when.Draw(t, "created"), ExpiresAt: when.Draw(t, "expires"), IdempotencyKey: text.Draw(t, "key"),
				SupersedeKey: text.Draw(t, "supersede"), Urgent: rapid.Bool().Draw(t, "urgent"),
				RunTimeout: command.MillisecondsOf(rapid.Uint64().Draw(t, "run timeout")),
			},
		}
		b, err := wire.Deliveries(nil, []transport.Delivery{d})
		require.NoError(t, err)
		want, err := wirejson.Marshal([]transport.Delivery{d})
		require.NoError(t, err)
		require.JSONEq(t, string(want), string(b))
		var page, wanted []transport.Delivery
		require.NoError(t, wire.Read(want, func(r *wire.Reader) { page = wire.ReadDeliveries(r) }))
		require.NoError(t, json.Unmarshal(b, &wanted))
		require.Equal(t, wanted, page)
	})
}

func TestWhatCannotBeWritten(t *testing.T) {
	t.Parallel()
	for _, a := range []ack.Ack{
		{Result: json.RawMessage(`{"a":`)}, {Result: json.RawMessage("{\n")}, {RetryAfter: math.NaN()}, {RetryAfter: math.Inf(1)}, {Time: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := wire.Acks(nil, []ack.Ack{a})
		require.Error(t, err, a)
	}
	for _, c := range []command.Command{
		{Parameters: command.Parameters("}")}, {CreatedAt: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}, {ExpiresAt: time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC)},
	} {
		_, err := wire.Deliveries(nil, []transport.Delivery{{Command: c}})
		require.Error(t, err, c.ID)
	}
}

// Whoever nests deepest gets as far as with encoding/json, and no further.
func TestDepth(t *testing.T) {
	t.Parallel()
	for _, depth := range []int{9_999, 10_000, 10_001, 1_000_000} {
		for _, s := range []string{
			strings.Repeat("[", depth) + strings.Repeat("]", depth),
			strings.Repeat(`{"":`, depth) + "0" + strings.Repeat("}", depth),
			`[{"result":` + strings.Repeat("[", depth-2) + strings.Repeat("]", depth-2) + "}]",
			strings.Repeat("[", depth),
		} {
			b := []byte(s)
			require.Equal(t, json.Valid(b), wire.Read(b, (*wire.Reader).Skip) == nil, depth)
			require.Equal(t, json.Unmarshal(b, new([]ack.Ack)) == nil, wire.Read(b, func(r *wire.Reader) { wire.ReadAcks(r) }) == nil, depth)
			_, err := wire.Raw(nil, b)
			require.Equal(t, json.Valid(b), err == nil, depth)
		}
	}
}

// What is wrong is said without what was read, which may be a secret.
func TestErrorsQuoteNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		`[{"id":secret}]`, `[{"id":7777}]`, `[{"attempt":7777.5}]`, `[{"attempt":77777777777777777777}]`, `[{"created_at":"secret"}]`, `[{"ack_within":"secret"}]`, `[{"id":"a"}] secret`, `[{"parameters":{"a":"secret}}]`,
	} {
		err := wire.Read([]byte(s), func(r *wire.Reader) { wire.ReadDeliveries(r) })
		require.Error(t, err, s)
		require.NotContains(t, err.Error(), "secret")
		require.NotContains(t, err.Error(), "777")
	}
}
