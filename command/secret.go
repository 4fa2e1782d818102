package command

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// Secret is a string that marshals as itself and prints as "[redacted]", under every fmt verb and
// under log/slog. Use [Secret.Reveal] where the value itself is needed.
//
// A slog.JSONHandler marshals structs, secrets and all: a type of one's own that holds some needs a LogValue
// method, which [LogValue] does the work of. [RegisterRunner] has one.
type Secret string

// Reveal returns the value.
func (s Secret) Reveal() string { return string(s) }

// Format prints "[redacted]", or nothing for an empty secret.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// String is "[redacted]", or empty for an empty secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// LogValue is "[redacted]", or empty for an empty secret.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalJSON returns the value itself: this is what goes on the wire.
func (s Secret) MarshalJSON() ([]byte, error) { return json.Marshal(string(s)) }
