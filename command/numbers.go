package command

import (
	"bytes"
	"encoding/json"
	"reflect"
	"sync"
)

// unmarshal is json.Unmarshal, but that a number is a json.Number where v has an interface for it. What cannot hold one is
// left to json.Unmarshal, which takes less.
func unmarshal(b []byte, v any) error {
	if !holdsInterface(reflect.TypeOf(v)) || !bytes.ContainsAny(b, "0123456789") || !json.Valid(b) {
		return json.Unmarshal(b, v)
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	return d.Decode(v)
}

// withInterfaces are types that were asked for before.
var withInterfaces sync.Map // of reflect.Type to bool

// holdsInterface says whether there may be an interface anywhere in a value of t.
func holdsInterface(t reflect.Type) bool {
	if known, ok := withInterfaces.Load(t); ok {
		return known.(bool)
	}
	holds := findInterface(t, map[reflect.Type]bool{})
	withInterfaces.Store(t, holds)
	return holds
}

func findInterface(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == nil || seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Interface:
		return true
	case reflect.Pointer, reflect.Slice, reflect.Array, reflect.Map:
		return findInterface(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if findInterface(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
