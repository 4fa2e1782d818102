package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/ack"
	"github.com/miglink/miglink/agent"
	"github.com/miglink/miglink/command"
)

type registered struct {
	Name  string                    `json:"name"`
	Token command.Secret            `json:"token"`
	More  map[string]any            `json:"more,omitempty"`
	Keys  map[string]command.Secret `json:"keys,omitempty"`
	At    time.Time                 `json:"at,omitzero"`
	Up    *registered               `json:"-"`
}

// A result is kept and shown, so the secrets in it stay at the agent.
func TestSecretsInResults(t *testing.T) {
	itself := &registered{Name: "a", Token: "s3cret"}
	itself.Up = itself
	for _, c := range []struct {
		result any
		want   string
	}{
		{registered{Name: "a", Token: "s3cret"}, `{"name":"a","token":"[redacted]"}`},
		{itself, `{"name":"a","token":"[redacted]"}`},
		{registered{Name: "a"}, `{"name":"a","token":""}`},
		{registered{Name: "a", More: map[string]any{"t": command.Secret("<&\"s3cret"), "n": 1}}, `{"name":"a","token":"","more":{"n":1,"t":"[redacted]"}}`},
		{registered{Keys: map[string]command.Secret{"k": "s3cret"}}, `{"name":"","token":"","keys":{"k":"[redacted]"}}`},
		{[]any{command.Secret("s3cret"), "s3cret", "other"}, `["[redacted]","[redacted]","other"]`},
		{command.Secret("s3cret"), `"[redacted]"`},
		{map[string]int{"n": 1}, `{"n":1}`},
	} {
		t.Run(c.want, func(t *testing.T) {
			inWorld(t, func(w *world) {
				a := w.agent(agent.Options{})
				agent.Handle(a, func(_ context.Context, job *agent.Job, _ command.Drain) (any, error) {
					require.NoError(w, job.Progress("", c.result))
					return c.result, nil
				}, agent.Policy{})
				stop := run(w.T, a)
				e := w.settled(w.send(command.Drain{}, command.Options{}), ack.Succeeded, "")
				require.Equal(w, c.want, string(e.Result))
				require.NoError(w, stop())
			})
		})
	}
}
