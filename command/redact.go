package command

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"reflect"
	"strings"

	"github.com/miglink/miglink/internal/wirejson"
)

// Secrets says which parameters of which types are secret, apart from what is declared for the program ([Declare]). It never changes, and is safe for concurrent use.
type Secrets struct {
	types map[Type]fields
}

// fields are those of one type's parameters.
type fields struct {
	open   map[string]bool // by JSON name: true where a value holds no secret
	with   map[string]bool // of those that are open: which go with a secret, and change when that does
	secret bool            // some of them are
	all    bool            // none is, whatever its name
}

func (f fields) isOpen(name string) bool { return f.all || f.open[name] }

// SecretsOf knows the types of this package, and those of more. In each a field whose Go type is [Secret], or
// holds one, is secret. Only the types of what is passed count, so zero values will do.
func SecretsOf(more ...Params) Secrets {
	s := Secrets{types: map[Type]fields{}}
	for _, p := range append([]Params{RegisterRunner{}, Drain{}, Shutdown{}, UpdateConfig{}, SetLogLevel{}, Cancel{}}, more...) {
		s.types[p.CommandType()] = fieldsOf(p)
	}
	return s
}

func fieldsOf(p Params) fields {
	t := reflect.TypeOf(p)
	f := fields{open: map[string]bool{}, with: map[string]bool{}, secret: holdsSecret(t, map[reflect.Type]bool{})}
	f.add(t)
	return f
}

// Redact is [Secrets.Redact] of the types of this package, and of those that were declared.
func Redact(t Type, p Parameters) Parameters { return declared.Load().Redact(t, p) }

// DropSecrets is [Secrets.Drop] of the types of this package, and of those that were declared.
func DropSecrets(t Type, p Parameters) Parameters { return declared.Load().Drop(t, p) }

// Declared says whether t is a type of this package, or was declared.
func Declared(t Type) bool {
	_, known := declared.Load().types[t]
	return known
}

// Redact returns p as it may be recorded for others to read. A field that is secret, or is none of its type's,
// becomes "[redacted]"; so does every field of a type that s does not know, of which only names are left. What
// is not a JSON object becomes an empty one. It changes nothing in what it returned itself.
func (s Secrets) Redact(t Type, p Parameters) Parameters {
	f := s.types[t]
	out, ok := rewrite(p, func(out *bytes.Buffer, name string, value json.RawMessage) {
		if !f.isOpen(name) {
			value = json.RawMessage(`"` + redacted + `"`)
		}
		field(out, name, value)
	})
	if !ok {
		return Parameters("{}")
	}
	return out
}

// Drop is Redact, but for types of which s knows that they have no secrets: their parameters are returned as they are.
func (s Secrets) Drop(t Type, p Parameters) Parameters {
	if f, known := s.types[t]; known && !f.secret || string(p) == "{}" {
		return p
	}
	return s.Redact(t, p)
}

// LogValue is p as it may be logged, as JSON: for the LogValue method of parameters that hold a [Secret].
func LogValue(p Params) slog.Value {
	raw, err := wirejson.Marshal(p)
	if err != nil {
		return slog.StringValue("parameters that do not encode")
	}
	return slog.StringValue(string(SecretsOf(p).Redact(p.CommandType(), raw)))
}

// add adds the fields of a struct as encoding/json names them. Of several of a name all have to be open.
func (f fields) add(t reflect.Type) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return
	}
	for i := range t.NumField() {
		field := t.Field(i)
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		switch {
		case field.Anonymous && name == "":
			f.add(field.Type)
			continue
		case !field.IsExported() || name == "-":
			continue
		case name == "":
			name = field.Name
		}
		if field.Tag.Get("secret") == "with" {
			f.with[name] = true
		}
		before, again := f.open[name]
		f.open[name] = !holdsSecret(field.Type, map[reflect.Type]bool{}) && (before || !again)
	}
}

// holdsSecret says whether there is a Secret anywhere in a value of t, but for what an interface may hold.
func holdsSecret(t reflect.Type, seen map[reflect.Type]bool) bool {
	if t == reflect.TypeFor[Secret]() {
		return true
	}
	if seen[t] {
		return false
	}
	seen[t] = true
	switch t.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Array:
		return holdsSecret(t.Elem(), seen)
	case reflect.Map:
		return holdsSecret(t.Key(), seen) || holdsSecret(t.Elem(), seen)
	case reflect.Struct:
		for i := range t.NumField() {
			if holdsSecret(t.Field(i).Type, seen) {
				return true
			}
		}
	}
	return false
}
