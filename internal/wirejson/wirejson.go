// Package wirejson is how Miglink writes JSON on the wire: compact, and without the HTML escapes
// of encoding/json, which would change the bytes of parameters on their way through.
package wirejson

import (
	"bytes"
	"encoding/json"
	"sync"
)

// Marshal returns v as one line of JSON without a line end.
func Marshal(v any) ([]byte, error) {
	w := writers.Get().(*writer)
	defer w.giveBack()
	if err := w.Encode(v); err != nil {
		return nil, err
	}
	return bytes.Clone(w.line()), nil
}

// Encode appends v to b as one line of JSON without a line end.
func Encode(b *bytes.Buffer, v any) error {
	w := writers.Get().(*writer)
	defer w.giveBack()
	if err := w.Encode(v); err != nil {
		return err
	}
	_, _ = b.Write(w.line()) // a Buffer takes all
	return nil
}

// writer is an Encoder and what it writes to. They are used again, since each is about as large as what is
// written, and parameters are written for each command.
type writer struct {
	*json.Encoder
	b bytes.Buffer
}

var writers = sync.Pool{New: func() any {
	w := &writer{}
	w.Encoder = json.NewEncoder(&w.b)
	w.SetEscapeHTML(false)
	return w
}}

// maxKept is the largest buffer that is kept for the next use.
const maxKept = 16 << 10

func (w *writer) giveBack() {
	if w.b.Cap() <= maxKept {
		w.b.Reset()
		writers.Put(w)
	}
}

// line is what was written, but for the line end that an Encoder adds.
func (w *writer) line() []byte { return w.b.Bytes()[:w.b.Len()-1] }
