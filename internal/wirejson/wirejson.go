// Package wirejson is how Miglink writes JSON on the wire: compact, and without the HTML escapes
// of encoding/json, which would change the bytes of parameters on their way through.
package wirejson

import (
	"bytes"
	"encoding/json"
)

// Marshal returns v as one line of JSON without a line end.
func Marshal(v any) ([]byte, error) {
	var b bytes.Buffer
	if err := Encode(&b, v); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Encode appends v to b as one line of JSON without a line end.
func Encode(b *bytes.Buffer, v any) error {
	e := json.NewEncoder(b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return err
	}
	b.Truncate(b.Len() - 1) // the line end that an Encoder adds
	return nil
}
