package command

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/miglink/miglink/internal/document"
)

// Params are the typed parameters of one command type. The five structs of this package implement
// it; a type of the user's own is a struct with these two methods on its value receiver. Its fields of type [Secret], or that
// hold one, are its secrets; a field with the tag `secret:"with"` is none, and changes when a secret does, as the time at which
// a token expires. [Declare] it, or all its parameters are taken for secrets wherever they are shown or kept.
type Params interface {
	// CommandType is constant for the Go type; it is called on zero values.
	CommandType() Type
	// Validate says what is wrong with the parameters, naming the JSON field.
	Validate() error
}

// Decode reads the parameters of c as P and validates them. It fails, with an error that wraps
// [ErrInvalid], if c is of another type. The error never quotes a value.
//
// A number that is read into an interface, at any depth, is a [json.Number], which holds every digit of it; a float64 is
// exact up to 2^53 only.
func Decode[P Params](c Command) (P, error) {
	var p P
	if want := p.CommandType(); c.Type != want {
		return p, fmt.Errorf("%w: type is %q, not %q", ErrInvalid, c.Type, want)
	}
	if err := decode(c.Parameters, &p); err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Type, err)
	}
	if err := p.Validate(); err != nil {
		return p, fmt.Errorf("%w: %s: %w", ErrInvalid, c.Type, err)
	}
	return p, nil
}

// Parameters is a JSON object that may hold secrets: it marshals as it is, and prints as its size.
type Parameters []byte

// MarshalJSON returns the object itself.
func (p Parameters) MarshalJSON() ([]byte, error) {
	if len(p) == 0 {
		return []byte("{}"), nil
	}
	return p, nil
}

// UnmarshalJSON keeps a copy of the bytes; JSON null is an empty object.
func (p *Parameters) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		b = []byte("{}")
	}
	*p = bytes.Clone(b)
	return nil
}

// Format prints the size and never the content, under every verb.
func (p Parameters) Format(f fmt.State, _ rune) {
	_, _ = io.WriteString(f, p.redacted())
}

// LogValue prints the size and never the content.
func (p Parameters) LogValue() slog.Value { return slog.StringValue(p.redacted()) }

func (p Parameters) redacted() string { return fmt.Sprintf("[%d bytes of parameters]", len(p)) }

// Validate says what makes p parameters that not everybody can read, as [Command.Validate] has it. An agent asks it of what
// a controller sends.
func (p Parameters) Validate() error {
	err := document.Check("parameters", p, document.Rules{Bytes: MaxParameters, Object: true})
	if err == nil {
		return nil
	}
	kind := ErrInvalid
	if bad := (*document.Error)(nil); errors.As(err, &bad) && bad.TooLarge {
		kind = ErrTooLarge
	}
	return fmt.Errorf("%w: %w", kind, err)
}

// Decode reads p into v, which is a pointer, with numbers as [Decode] has them: for types that are not known at compile time.
// An error wraps [ErrInvalid], and quotes no value.
func (p Parameters) Decode(v any) error {
	if err := decode(p, v); err != nil {
		return fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	return nil
}

// decode unmarshals, with errors that name the field and the kind but quote no value.
func decode(p Parameters, v any) error {
	if len(p) == 0 {
		p = Parameters("{}")
	}
	err := unmarshal(p, v)
	switch e := err.(type) { //nolint:errorlint // encoding/json returns these unwrapped
	case nil:
		return nil
	case *json.UnmarshalTypeError:
		return fmt.Errorf("%s is a JSON %s, not a %s", e.Field, kind(e.Value), e.Type)
	case *json.SyntaxError:
		return fmt.Errorf("not JSON at byte %d", e.Offset)
	case *time.ParseError:
		return errors.New("a time is not like 2006-01-02T15:04:05Z (RFC 3339)")
	default:
		return err
	}
}

// kind drops the literal that encoding/json adds to the name of a kind ("number 12").
func kind(s string) string {
	if i := bytes.IndexByte([]byte(s), ' '); i >= 0 {
		return s[:i]
	}
	return s
}
