package command

import (
	"bytes"
	"encoding/json"
)

// Same says whether two commands of a type ask for the same, as far as their parameters say: they differ in secrets at most,
// in parameters that go with one, and in white space. So a command that is sent again with a fresh token is the same. Of a type
// that nobody has declared all parameters count.
func Same(t Type, a, b Parameters) bool {
	return sameDocument(asked(t, a), asked(t, b))
}

// asked is p without secrets and what goes with them.
func asked(t Type, p Parameters) Parameters {
	f, known := declared.Load().types[t]
	if !known || !f.secret {
		return p
	}
	out, ok := rewrite(p, func(out *bytes.Buffer, name string, value json.RawMessage) {
		if f.isOpen(name) && !f.with[name] {
			field(out, name, value)
		}
	})
	if !ok {
		return p
	}
	return out
}

// sameDocument says whether two documents differ in white space at most, of which a ledger on disk drops some: a command
// that is sent again must be the same also after a restart.
func sameDocument(a, b Parameters) bool {
	if string(a) == string(b) {
		return true
	}
	var one, other bytes.Buffer
	return json.Compact(&one, a) == nil && json.Compact(&other, b) == nil && bytes.Equal(one.Bytes(), other.Bytes())
}
