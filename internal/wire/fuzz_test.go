package wire_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/internal/wire"
	"github.com/miglink/miglink/transport"
)

// FuzzRead: what is read of anything at all is what encoding/json reads of it, and is written so that
// it reads back.
func FuzzRead(f *testing.F) {
	for _, s := range []string{
		`[{"command_id":"c","status":"processed","attempt":1,"timestamp":"2026-11-25T08:57:30Z","reason":"\ud83d\ude00","result":{"a":1},"retry_after":1.5}]`,
		`[{"cursor":"e.1.0","attempt":1,"started":true,"ack_within":30,"id":"c","type":"drain","parameters":{"a":"\u2028"},"created_at":"2026-11-25T08:57:30Z","urgent":true}]`,
		`[null,{"command_id":null,"attempt":null,"status":null,"parameters":null,"x":[{}],"\u0069d":"i"}]`, `[{}] 1`, `[{"attempt":1.5}]`, `[{"urgent":"x"}]`, `null`, `{}`,
		`[{"id":"a","id":"b"}]`, "[{\"id\":\"\xff\"}]", `[{"ack_within":"x"}]`, `[{"attempt":99999999999999999999}]`, `[{"ack_within":"30\u0073"}]`, `[{"ack_within":"1h30m0s"}]`,
		" [ { \"x\" :\t[ -0.5e+7 , [ ] , { } , tru ] } ]\r\n", `[{"parameters":{"a":[01]}}]`, `[{"id":"a",}]`, `[{},]`, `[{"id" "a"}]`, "[{\"reason\":\"\x1f\"}]", `[{"result":"\u12g4\x"}]`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if spelledOtherwise(b) {
			return
		}
		var acks, wantedAcks []ack.Ack
		err := wire.Read(b, func(r *wire.Reader) { acks = wire.ReadAcks(r) })
		if same(t, json.Unmarshal(b, &wantedAcks), err, b) {
			for i := range wantedAcks {
				if string(wantedAcks[i].Result) == "null" {
					wantedAcks[i].Result = nil
				}
			}
			require.Equal(t, wantedAcks, acks)
			if out, err := wire.Acks(nil, acks); err == nil && acks != nil { // a time may be out of what can be written
				var again []ack.Ack
				require.NoError(t, wire.Read(out, func(r *wire.Reader) { again = wire.ReadAcks(r) }))
				require.Equal(t, onOneLine(t, acks), onOneLine(t, again))
			}
		}
		var page, wantedPage []transport.Delivery
		err = wire.Read(b, func(r *wire.Reader) { page = wire.ReadDeliveries(r) })
		if same(t, json.Unmarshal(b, &wantedPage), err, b) {
			require.Equal(t, wantedPage, page)
			if out, err := wire.Deliveries(nil, page); err == nil && page != nil {
				var again []transport.Delivery
				require.NoError(t, wire.Read(out, func(r *wire.Reader) { again = wire.ReadDeliveries(r) }))
				require.Equal(t, onOneLine(t, page), onOneLine(t, again))
			}
		}
	})
}

// spelledOtherwise says whether a field has letters for which encoding/json takes other ones, too.
func spelledOtherwise(b []byte) bool {
	var fields []map[string]json.RawMessage
	_ = json.Unmarshal(b, &fields) // what it refuses, the other types refuse, too
	for _, f := range fields {
		for name := range f {
			if name != strings.ToLower(name) || strings.ContainsRune(name, 'ſ') {
				return true
			}
		}
	}
	return false
}

// same checks that both sides take b, or refuse it. It returns false where there is nothing to compare.
func same(t *testing.T, wanted, err error, b []byte) bool {
	t.Helper()
	if bad := (*time.ParseError)(nil); errors.As(wanted, &bad) && bytes.IndexByte(b, '\\') >= 0 {
		return false // package time does not take escapes in a time; a Reader does
	}
	require.Equal(t, wanted == nil, err == nil, "%v, %v", wanted, err)
	return err == nil
}

// onOneLine is a list as encoding/json writes it: times and raw JSON have several forms in memory.
func onOneLine(t *testing.T, list any) string {
	t.Helper()
	b, err := json.Marshal(list)
	require.NoError(t, err)
	return string(b)
}

// FuzzValue: each kind of value is read as encoding/json reads it, wherever a document has it.
func FuzzValue(f *testing.F) {
	for _, s := range []string{
		`null`, `true`, `falsy`, `0`, `-0`, `-1`, `01`, `1.`, `-`, `1e`, `1e400`, `1.5E-3`, `18446744073709551615`, `9223372036854775808`, `"a`, `"\ud800"`, `"\u00e9\/"`, "\"\xc3\"", `"longer than eight bytes é"`,
		`"2026-02-29T00:00:00Z"`, `"2024-02-29T23:59:59.999999999Z"`, `"2026-11-25T08:57:30.5+01:00"`, `"2026-11-25T08:57:60Z"`, `"0000-01-01T00:00:00.Z"`, `"2026-11-25T08:57:30.1234567891Z"`, `{"a":[{}]}`, "\ufeff1", "1\x00", "", " ",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		value(t, b, (*wire.Reader).Bool)
		value(t, b, (*wire.Reader).Int)
		value(t, b, (*wire.Reader).Uint)
		value(t, b, (*wire.Reader).Float)
		value(t, b, (*wire.Reader).String)
		value(t, b, (*wire.Reader).Time)
		value(t, b, func(r *wire.Reader, into *json.RawMessage) {
			if *into = r.Raw(); *into == nil {
				*into = json.RawMessage("null")
			}
		})
		require.Equal(t, json.Valid(b), wire.Read(b, (*wire.Reader).Skip) == nil)
		line, err := wire.Raw(nil, b)
		require.Equal(t, json.Valid(b), err == nil)
		if err == nil {
			require.NotContains(t, string(line), "\n")
			require.NotContains(t, string(line), "\r")
			require.Equal(t, compact(t, b), compact(t, line))
		}
	})
}

func value[T any](t *testing.T, b []byte, read func(*wire.Reader, *T)) {
	t.Helper()
	var got, wanted T
	err := wire.Read(b, func(r *wire.Reader) { read(r, &got) })
	if same(t, json.Unmarshal(b, &wanted), err, b) {
		require.Equal(t, wanted, got)
	}
}

func compact(t *testing.T, b []byte) string {
	t.Helper()
	var line bytes.Buffer
	require.NoError(t, json.Compact(&line, b))
	return line.String()
}

// FuzzAppend: text and times are written so that encoding/json reads what it would have written.
func FuzzAppend(f *testing.F) {
	f.Add("", int64(0), int64(0))
	f.Add("plain enough", int64(1795597050), int64(120_000_000))
	f.Add("é\x00\x1f\x7f\xff\u2028\"\\ \ud7ff", int64(-62167219200), int64(1))
	f.Add("12345678\n", int64(253402300800), int64(999_999_999))
	f.Fuzz(func(t *testing.T, s string, seconds, nanoseconds int64) {
		var got string
		require.NoError(t, json.Unmarshal(wire.Text(nil, s), &got))
		require.Equal(t, mended(s), got)
		at := time.Unix(seconds, nanoseconds)
		for _, at := range []time.Time{at.UTC(), at.In(time.FixedZone("", 3600)), at.In(time.FixedZone("", 0))} {
			want, wanted := at.MarshalJSON()
			b, err := wire.Time(nil, at)
			require.Equal(t, wanted == nil, err == nil, "%v, %v", wanted, err)
			if err == nil {
				require.Equal(t, string(want), string(b))
				value(t, b, (*wire.Reader).Time)
			}
		}
	})
}

// mended has a replacement for each byte that is not UTF-8.
func mended(s string) string { return string([]rune(s)) }
