package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/miglink/miglink/internal/document"
)

// Text appends s as a JSON string; what is not UTF-8 in it is mended.
func Text[T ~string](b []byte, s T) []byte {
	start := len(b)
	b = append(append(b, '"'), s...)
	if document.Plain(b[start+1:]) == len(s) {
		return append(b, '"')
	}
	b, _ = jsontext.AppendQuote(b[:start], string(s)) // the error says that it was mended
	return b
}

// Number appends a whole number.
func Number[T ~int | ~uint64](b []byte, n T) []byte {
	if n < 0 {
		return strconv.AppendInt(b, int64(n), 10)
	}
	return strconv.AppendUint(b, uint64(n), 10)
}

// Float appends a number that JSON can express.
func Float(b []byte, f float64) ([]byte, error) {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return b, errRaw
	}
	return jsontext.AppendFloat(b, f, 64), nil
}

// Time appends t as of RFC 3339, which has years of four digits only.
func Time(b []byte, t time.Time) ([]byte, error) {
	b, ok := appendUTC(append(b, '"'), t)
	var err error
	if !ok {
		b, err = t.AppendText(b)
	}
	return append(b, '"'), err
}

var errRaw = errors.New("what is to be sent as JSON is none")

// Raw appends JSON that others have made, on one line.
func Raw(b, raw []byte) ([]byte, error) {
	if !valid(raw) {
		return b, errRaw
	}
	if bytes.IndexByte(raw, '\n') < 0 && bytes.IndexByte(raw, '\r') < 0 {
		return append(b, raw...), nil
	}
	var line bytes.Buffer
	err := json.Compact(&line, raw)
	return append(b, line.Bytes()...), err
}

// valid is json.Valid, and faster.
func valid(b []byte) bool {
	r := Reader{b: b}
	r.Skip()
	return r.ended() && r.err == nil
}
