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
			Reason: text.Draw(t, "reason"), RetryAfter: rapid.Float64().Draw(t, "retry"),
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
			AckWithin: command.Duration(rapid.Int64().Draw(t, "within")),
			Command: command.Command{
				ID: text.Draw(t, "id"), Type: command.Type(text.Draw(t, "type")), Parameters: command.Parameters(raw.Draw(t, "parameters")),
				CreatedAt: when.Draw(t, "created"), ExpiresAt: when.Draw(t, "expires"), IdempotencyKey: text.Draw(t, "key"),
				SupersedeKey: text.Draw(t, "supersede"), Urgent: rapid.Bool().Draw(t, "urgent"),
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

// FuzzRead: what is read of anything at all is what encoding/json reads of it.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`[{"command_id":"c","status":"processed","attempt":1,"timestamp":"2026-11-25T08:57:30Z","reason":"\ud83d\ude00","result":{"a":1},"retry_after":1.5}]`,
		`[{"cursor":"e.1.0","attempt":1,"started":true,"ack_within":30,"id":"c","type":"drain","parameters":{"a":"\u2028"},"created_at":"2026-11-25T08:57:30Z","urgent":true}]`,
		`[null,{"command_id":null,"attempt":null,"status":null,"parameters":null,"x":[{}],"\u0069d":"i"}]`, `[{}] 1`, `[{"attempt":1.5}]`, `[{"urgent":"x"}]`, `null`, `{}`,
		`[{"id":"a","id":"b"}]`, "[{\"id\":\"\xff\"}]", `[{"ack_within":"x"}]`, `[{"attempt":99999999999999999999}]`, `[{"ack_within":"30\u0073"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if strings.ContainsFunc(string(b), func(r rune) bool { return r >= 'A' && r <= 'Z' || r == 'ſ' || r == 'K' }) {
			return // encoding/json finds fields under other spellings, too
		}
		var acks, wantedAcks []ack.Ack
		err := wire.Read(b, func(r *wire.Reader) { acks = wire.ReadAcks(r) })
		wanted := json.Unmarshal(b, &wantedAcks)
		for i := range wantedAcks {
			if string(wantedAcks[i].Result) == "null" {
				wantedAcks[i].Result = nil
			}
		}
		require.Equal(t, wanted == nil, err == nil, "%v, %v", wanted, err)
		if err == nil {
			require.Equal(t, wantedAcks, acks)
		}
		var page, wantedPage []transport.Delivery
		err = wire.Read(b, func(r *wire.Reader) { page = wire.ReadDeliveries(r) })
		wanted = json.Unmarshal(b, &wantedPage)
		require.Equal(t, wanted == nil, err == nil, "%v, %v", wanted, err)
		if err == nil {
			require.Equal(t, wantedPage, page)
		}
	})
}
