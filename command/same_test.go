package command_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

// Two commands that differ in secrets, and in what goes with them, ask for the same.
func TestSame(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		t, a, b string
		same    bool
	}{
		{"register_runner", `{"registration_token":"a","runner_url":"https://x"}`, `{"runner_url":"https://x","registration_token":"b"}`, true},
		{"register_runner", `{"registration_token":"a","runner_url":"https://x"}`, `{"registration_token":"b", "runner_url":"https://x", "expires_at":"2026-01-01T00:00:00Z"}`, true},
		{"register_runner", `{"registration_token":"a","runner_url":"https://x"}`, `{"registration_token":"a","runner_url":"https://y"}`, false},
		{"register_runner", `{"registration_token":"a","runner_url":"https://x"}`, `{"registration_token":"a","runner_url":"https://x","labels":["l"]}`, false},
		{"register_runner", `{"registration_token":"a"`, `{"registration_token":"b"`, false},
		{"drain", `{"reason":"a"}`, `{ "reason" : "a" }`, true},
		{"drain", `{"reason":"a"}`, `{"reason":"b"}`, false},
		{"drain", `{"own":"a"}`, `{"own":"b"}`, false},
		{"declared/never", `{"token":"a"}`, `{"token":"b"}`, false},
		{"declared/never", `{"token":"a"}`, `{"token": "a"}`, true},
	} {
		require.Equal(t, c.same, command.Same(command.Type(c.t), command.Parameters(c.a), command.Parameters(c.b)), "%s\n%s", c.a, c.b)
	}
	old, err := json.Marshal(command.RegisterRunner{RegistrationToken: "a", RunnerURL: "https://x", ExpiresAt: time.Unix(1, 0)})
	require.NoError(t, err)
	fresh, err := json.Marshal(command.RegisterRunner{RegistrationToken: "b", RunnerURL: "https://x", ExpiresAt: time.Unix(9, 0)})
	require.NoError(t, err)
	require.True(t, command.Same(command.TypeRegisterRunner, old, fresh))
	require.Contains(t, string(command.Redact(command.TypeRegisterRunner, old)), "1970", "it is shown all the same")
}
