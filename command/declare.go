package command

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/miglink/miglink/internal/wirejson"
)

// declared are the types that this program knows. A reader needs no lock.
var (
	declared  atomic.Pointer[Secrets]
	declaring sync.Mutex
)

func init() {
	s := SecretsOf()
	declared.Store(&s)
}

// Declare says of types of your own which of their parameters are secret: in each a field whose Go type is [Secret], or holds
// one. Zero values will do. What is declared once holds for the whole program: what is kept of a settled command, what an audit
// shows, and whether two commands under one idempotency key are the same. Of a type that nobody has declared all parameters
// are taken for secrets. Call it before a ledger is opened, in an init function, say.
//
// Of two declarations of a type both hold: what one of them takes for a secret is one.
func Declare(types ...Params) {
	for _, p := range types {
		declare(p.CommandType(), fieldsOf(p))
	}
}

// DeclareOpen is [Declare] for a program that has no Go type: the named parameters of the type are no secrets, and all others
// are. The name "*" stands for all parameters. Types of this package are declared already.
func DeclareOpen(t Type, names ...string) error {
	if err := t.Validate(); err != nil {
		return err
	}
	if _, ours := SecretsOf().types[t]; ours {
		return fmt.Errorf("%w: type %s is known, and so are its secrets: only other types can be declared", ErrInvalid, t)
	}
	f := fields{open: map[string]bool{}, secret: true}
	for _, name := range names {
		switch name {
		case "":
			return fmt.Errorf("%w: type %s: the name of a parameter is empty", ErrInvalid, t)
		case "*":
			f.secret = false
		default:
			f.open[name] = true
		}
	}
	if !f.secret {
		f.all = true
	}
	declare(t, f)
	return nil
}

func declare(t Type, f fields) {
	declaring.Lock()
	defer declaring.Unlock()
	next := Secrets{types: maps.Clone(declared.Load().types)}
	if before, again := next.types[t]; again {
		f = before.and(f)
	}
	next.types[t] = f
	declared.Store(&next)
}

// and is what both declarations of a type take for open.
func (f fields) and(o fields) fields {
	both := fields{open: map[string]bool{}, with: maps.Clone(f.with), secret: f.secret || o.secret, all: f.all && o.all}
	for _, name := range slices.Concat(slices.Collect(maps.Keys(f.open)), slices.Collect(maps.Keys(o.open))) {
		both.open[name] = f.isOpen(name) && o.isOpen(name)
	}
	if both.with == nil {
		both.with = map[string]bool{}
	}
	maps.Copy(both.with, o.with)
	return both
}

// rewrite returns an object that each makes of the fields of p. It returns false where p is none.
func rewrite(p Parameters, each func(out *bytes.Buffer, name string, value json.RawMessage)) (Parameters, bool) {
	d := json.NewDecoder(bytes.NewReader(p))
	if start, err := d.Token(); err != nil || start != json.Delim('{') {
		return nil, false
	}
	out := bytes.NewBufferString("{")
	for d.More() {
		name, err := d.Token()
		var value json.RawMessage
		if err == nil {
			err = d.Decode(&value)
		}
		if err != nil {
			return nil, false
		}
		if s, is := name.(string); is {
			each(out, s, value)
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, false
	}
	out.WriteByte('}')
	return out.Bytes(), true
}

// field adds a field to the object in out.
func field(out *bytes.Buffer, name string, value []byte) {
	if out.Len() > 1 {
		out.WriteByte(',')
	}
	_ = wirejson.Encode(out, name) // a string
	out.WriteByte(':')
	out.Write(value)
}
