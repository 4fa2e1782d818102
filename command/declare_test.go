package command_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

type enrol struct {
	Host   string         `json:"host"`
	Token  command.Secret `json:"token"`
	Expiry time.Time      `json:"expiry,omitzero" secret:"with"`
}

func (enrol) CommandType() command.Type { return "declared/enrol" }
func (enrol) Validate() error           { return nil }

// wider is another declaration of the same type, as of a later version.
type wider struct {
	Host command.Secret `json:"host"`
	More string         `json:"more"`
}

func (wider) CommandType() command.Type { return "declared/enrol" }
func (wider) Validate() error           { return nil }

func TestDeclare(t *testing.T) {
	const typ = "declared/enrol"
	p := command.Parameters(`{"host":"h","token":"s3cret","expiry":"2026-01-01T00:00:00Z","more":"m"}`)
	require.False(t, command.Declared(typ))
	require.Equal(t, `{"host":"[redacted]","token":"[redacted]","expiry":"[redacted]","more":"[redacted]"}`, string(command.Redact(typ, p)))
	require.Equal(t, string(command.Redact(typ, p)), string(command.DropSecrets(typ, p)))

	command.Declare(enrol{})
	require.True(t, command.Declared(typ))
	want := `{"host":"h","token":"[redacted]","expiry":"2026-01-01T00:00:00Z","more":"[redacted]"}`
	require.Equal(t, want, string(command.Redact(typ, p)))
	require.Equal(t, want, string(command.DropSecrets(typ, p)))
	command.Declare(enrol{})
	require.Equal(t, want, string(command.Redact(typ, p)), "once more changes nothing")

	command.Declare(wider{})
	require.Equal(t, `{"host":"[redacted]","token":"[redacted]","expiry":"[redacted]","more":"[redacted]"}`, string(command.Redact(typ, p)), "both hold")
}

func TestDeclareOpen(t *testing.T) {
	p := command.Parameters(`{"a":"1","b":{"c":2}}`)
	require.NoError(t, command.DeclareOpen("declared/some", "a"))
	require.Equal(t, `{"a":"1","b":"[redacted]"}`, string(command.DropSecrets("declared/some", p)))
	require.Equal(t, `{"a":"1","b":"[redacted]"}`, string(command.Redact("declared/some", p)))
	require.NoError(t, command.DeclareOpen("declared/all", "*"))
	require.Equal(t, string(p), string(command.DropSecrets("declared/all", p)))
	require.Equal(t, string(p), string(command.Redact("declared/all", p)))
	require.NoError(t, command.DeclareOpen("declared/none"))
	require.Equal(t, `{"a":"[redacted]","b":"[redacted]"}`, string(command.DropSecrets("declared/none", p)))
	require.NoError(t, command.DeclareOpen("declared/all", "a"))
	require.Equal(t, `{"a":"1","b":"[redacted]"}`, string(command.Redact("declared/all", p)), "both hold")

	require.ErrorContains(t, command.DeclareOpen("register_runner", "registration_token"), "type register_runner is known, and so are its secrets")
	require.ErrorContains(t, command.DeclareOpen("declared/some", ""), "the name of a parameter is empty")
	require.ErrorIs(t, command.DeclareOpen("Not A Type", "a"), command.ErrInvalid)
}
