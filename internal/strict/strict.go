// Package strict reads what an operator has written: JSON of a request or a file, and names. What a lenient reader would
// ignore or mend is refused, by name: the operator meant something by it. What agents and controllers say to each other is
// not read so: a newer one may add fields.
package strict

import (
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/miglink/miglink/internal/printable"
)

// maxShown is how many bytes an error repeats of a name.
const maxShown = 60

// Unmarshal reads b, which holds one JSON value and nothing after it, into v. It refuses fields that v does not have, names
// in another case, a field that is there twice, at any depth, and text that is not UTF-8, half a surrogate pair included.
// Errors are for the operator: they name fields and positions, and repeat no value, which may be a secret.
func Unmarshal(b []byte, v any) error {
	err := json.Unmarshal(b, v, json.RejectUnknownMembers(true))
	if err == nil {
		return nil
	}
	if bad := (*jsontext.SyntacticError)(nil); errors.As(err, &bad) {
		return syntactic(bad)
	}
	if bad := (*json.SemanticError)(nil); errors.As(err, &bad) {
		return semantic(bad)
	}
	return err
}

func syntactic(bad *jsontext.SyntacticError) error {
	switch {
	case errors.Is(bad, jsontext.ErrDuplicateName):
		return fmt.Errorf("the field %s is there twice", quote(bad.JSONPointer.LastToken()))
	case strings.Contains(bad.Error(), "UTF-8") || strings.Contains(bad.Error(), "surrogate"):
		return fmt.Errorf("text at byte %d is not UTF-8, or is half a surrogate pair (\\ud800 to \\udfff), which is no character", bad.ByteOffset)
	case strings.Contains(bad.Error(), "after top-level value"):
		return fmt.Errorf("something follows the JSON value, at byte %d", bad.ByteOffset)
	}
	return fmt.Errorf("not JSON at byte %d", bad.ByteOffset)
}

func semantic(bad *json.SemanticError) error {
	name := bad.JSONPointer.LastToken()
	switch {
	case errors.Is(bad, json.ErrUnknownName):
		return Unknown("field", name, Fields(bad.GoType))
	case name == "":
		return fmt.Errorf("a JSON %s, where an object is wanted", kinds[bad.JSONKind])
	case bad.Err != nil && bad.GoType != nil && reflect.PointerTo(bad.GoType).Implements(unmarshaler): // our own words
		return fmt.Errorf("the field %s: %w", quote(name), bad.Err)
	}
	return fmt.Errorf("the field %s is a JSON %s, where %s is wanted", quote(name), kinds[bad.JSONKind], wanted(bad.GoType))
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

var kinds = map[jsontext.Kind]string{'n': "null", 't': "boolean", 'f': "boolean", '"': "string", '0': "number", '{': "object", '[': "array"}

// wanted is the kind of JSON that a type is read from.
func wanted(t reflect.Type) string {
	if t != nil {
		switch k := t.Kind(); {
		case k == reflect.String:
			return "a string"
		case k == reflect.Bool:
			return "true or false"
		case k >= reflect.Int && k <= reflect.Float64:
			return "a number in range"
		case k == reflect.Slice || k == reflect.Array:
			return "an array"
		}
	}
	return "another kind"
}

// Fields are the names that a struct is read by.
func Fields(t reflect.Type) (names []string) {
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		return nil
	}
	for _, f := range reflect.VisibleFields(t) {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

func quote(s string) string { return `"` + printable.Cut(s, maxShown) + `"` }
