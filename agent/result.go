package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"sync"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/document"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/internal/wirejson"
)

// marshalResult is v as a result that an ack may hold, without its secrets: a result is kept and shown. What v's own methods do,
// and be it to panic, ends in an error.
func marshalResult(v any) (json.RawMessage, error) {
	if v == nil {
		return nil, nil
	}
	var b []byte
	err := safely.Do(func() (err error) {
		if b, err = wirejson.Marshal(v); err == nil {
			b = redact(b, secretsIn(v))
		}
		return err
	})
	if errors.As(err, new(*safely.Panic)) {
		return nil, errors.New("the result is not JSON: its MarshalJSON panicked")
	}
	if err != nil {
		return nil, fmt.Errorf("the result is not JSON: %w", err)
	}
	if err := document.Check("result", b, document.Rules{Bytes: ack.MaxResult}); err != nil {
		return nil, fmt.Errorf("the result was left out: %w", err)
	}
	return b, nil
}

// redact puts a placeholder for each string of a document that is one of the secrets.
func redact(b []byte, secrets map[command.Secret]bool) []byte {
	for s := range secrets {
		if value, err := json.Marshal(s); err == nil {
			b = bytes.ReplaceAll(b, value, []byte(`"`+s.String()+`"`))
		}
	}
	return b
}

// secretsIn are the secrets anywhere in v.
func secretsIn(v any) map[command.Secret]bool {
	value := reflect.ValueOf(v)
	if !mayHold(value.Type()) {
		return nil
	}
	w := walk{secrets: map[command.Secret]bool{}, seen: map[any]bool{}}
	w.in(value)
	return w.secrets
}

type walk struct {
	secrets map[command.Secret]bool
	seen    map[any]bool // pointers that were followed
}

func (w walk) in(v reflect.Value) {
	if !v.IsValid() || !mayHold(v.Type()) {
		return
	}
	if v.Type() == reflect.TypeFor[command.Secret]() {
		if s := command.Secret(v.String()); s != "" {
			w.secrets[s] = true
		}
		return
	}
	switch v.Kind() {
	case reflect.Interface:
		w.in(v.Elem())
	case reflect.Pointer:
		at := [2]any{v.Pointer(), v.Type()}
		if !w.seen[at] {
			w.seen[at] = true
			w.in(v.Elem())
		}
	case reflect.Slice, reflect.Array:
		for i := range v.Len() {
			w.in(v.Index(i))
		}
	case reflect.Map:
		for k, e := range v.Seq2() {
			w.in(k)
			w.in(e)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			w.in(v.Field(i))
		}
	}
}

// holders are the types that were asked about: whether a value of theirs may hold a secret.
var holders sync.Map

func mayHold(t reflect.Type) bool {
	if known, ok := holders.Load(t); ok {
		return known.(bool)
	}
	may := reaches(t, map[reflect.Type]bool{})
	holders.Store(t, may)
	return may
}

// reaches says whether a Secret, or an interface that may hold one, is anywhere in a value of t.
func reaches(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == reflect.TypeFor[command.Secret]() || t.Kind() == reflect.Interface {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return reaches(t.Elem(), seen)
	case reflect.Map:
		return reaches(t.Key(), seen) || reaches(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if reaches(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
