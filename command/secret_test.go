package command_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

const token = "AB3-s3cr3t-token"

// Secrets travel, and are not printed by anything that prints.
func TestSecretsDoNotPrint(t *testing.T) {
	t.Parallel()
	params := command.RegisterRunner{RegistrationToken: token, RunnerURL: "https://ci.example.com"}
	cmd, err := command.New(params, command.Options{})
	require.NoError(t, err)
	wire, err := json.Marshal(cmd)
	require.NoError(t, err)
	require.Contains(t, string(wire), token)

	var printed bytes.Buffer
	for name, v := range map[string]any{
		"parameters": params, "pointer": &params, "command": cmd, "pointer to a command": &cmd, "raw": cmd.Parameters,
		"secret": params.RegistrationToken, "list": []any{params, cmd}, "map": map[string]any{"a": params.RegistrationToken},
	} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t"} {
			fmt.Fprintf(&printed, verb+"\n", v)
			fmt.Fprintln(&printed, fmt.Errorf("wrapped: "+verb, v))
		}
		slog.New(slog.NewTextHandler(&printed, nil)).Info("text", name, v)
	}
	slog.New(slog.NewJSONHandler(&printed, nil)).Info("struct", "parameters", params, "pointer", &params, "command", &cmd)
	require.Contains(t, printed.String(), `"runner_url\":\"https://ci.example.com\"`, "what is no secret is there")
	for _, h := range []slog.Handler{slog.NewJSONHandler(&printed, nil), slog.NewTextHandler(&printed, nil)} {
		slog.New(h).Info("record", "command", cmd, "parameters", cmd.Parameters, "secret", params.RegistrationToken)
	}
	require.NotContains(t, printed.String(), token)
	require.NotContains(t, printed.String(), fmt.Sprintf("%x", token))
	require.NotContains(t, printed.String(), fmt.Sprintf("%X", token))
	require.NotContains(t, printed.String(), strings.Trim(fmt.Sprintf("%d", []byte(token)), "[]"))
	require.Contains(t, printed.String(), "[redacted]")
	require.Empty(t, fmt.Sprint(command.Secret("")), "that there is none may be seen")

	for _, bad := range []string{
		`{"registration_token":["` + token + `"]}`,
		`{"registration_token":"t","expires_at":"` + token + `"}`,
		`{"registration_token":"` + token + `","runner_url":"` + token + `"}`,
		`{"registration_token":"` + token,
	} {
		_, err := command.NewRaw(command.TypeRegisterRunner, command.Parameters(bad), command.Options{})
		require.ErrorIs(t, err, command.ErrInvalid)
		require.NotContains(t, err.Error(), token, "an error quotes no value")
	}
}
