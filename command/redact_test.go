package command_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
)

// login is a type of a user's own, with secrets at all depths.
type login struct {
	User    string                    `json:"user"`
	Pass    command.Secret            `json:"pass"`
	Others  []command.Secret          `json:"others"`
	ByName  map[string]command.Secret `json:"by_name"`
	Nested  struct{ Deep *keyring }   `json:"nested"`
	Plain   struct{ A int }           `json:"plain"`
	Skipped string                    `json:"-"`
	Named   string
	embedded
}

type keyring struct {
	Next *keyring
	Key  command.Secret
}

type embedded struct {
	Inner string `json:"inner"`
}

func (login) CommandType() command.Type { return "login" }
func (login) Validate() error           { return nil }

func TestRedact(t *testing.T) {
	t.Parallel()
	own := command.SecretsOf(login{})
	for _, test := range []struct{ t, p, redact, drop string }{
		{"drain", `{"reason":"deploy"}`, `{"reason":"deploy"}`, `{"reason":"deploy"}`},
		{"drain", `{"reason":"deploy","resaon":1}`, `{"reason":"deploy","resaon":"[redacted]"}`, `{"reason":"deploy","resaon":1}`},
		{
			"register_runner", `{"registration_token":"s3cret", "runner_url" : "https://x" ,"labels":["a"]}`,
			`{"registration_token":"[redacted]","runner_url":"https://x","labels":["a"]}`,
			`{"registration_token":"[redacted]","runner_url":"https://x","labels":["a"]}`,
		},
		// encoding/json takes all of these for the token.
		{
			"register_runner", `{"Registration_Token":"s3cret","regi\u0073tration_token":"s3cret","regiſtration_toKen":"s3cret"}`,
			`{"Registration_Token":"[redacted]","registration_token":"[redacted]","regiſtration_toKen":"[redacted]"}`,
			`{"Registration_Token":"[redacted]","registration_token":"[redacted]","regiſtration_toKen":"[redacted]"}`,
		},
		{"register_runner", `{"registration_token":{"a":["s3cret"]}}`, `{"registration_token":"[redacted]"}`, `{"registration_token":"[redacted]"}`},
		{"register_runner", `{"registration_token":"s3cret"`, `{}`, `{}`},
		{"register_runner", `["s3cret"]`, `{}`, `{}`},
		{"unheard_of", `{"a":"s3cret","b":{"c":1}}`, `{"a":"[redacted]","b":"[redacted]"}`, `{"a":"[redacted]","b":"[redacted]"}`},
		{
			"login", `{"user":"u","pass":"s3cret","others":["s3cret"],"by_name":{"a":"s3cret"},"nested":{"Deep":{"Key":"s3cret"}},"plain":{"A":1},"Named":"n","inner":"i","Skipped":"s3cret"}`,
			`{"user":"u","pass":"[redacted]","others":"[redacted]","by_name":"[redacted]","nested":"[redacted]","plain":{"A":1},"Named":"n","inner":"i","Skipped":"[redacted]"}`,
			`{"user":"u","pass":"[redacted]","others":"[redacted]","by_name":"[redacted]","nested":"[redacted]","plain":{"A":1},"Named":"n","inner":"i","Skipped":"[redacted]"}`,
		},
	} {
		require.Equal(t, test.redact, text(own.Redact(command.Type(test.t), command.Parameters(test.p))), test.p)
		require.Equal(t, test.drop, text(own.Drop(command.Type(test.t), command.Parameters(test.p))), test.p)
	}
	require.Equal(t, `{"pass":"[redacted]"}`, text(command.Redact("login", command.Parameters(`{"pass":"x"}`))), "unknown without being told")
	require.Equal(t, `{"pass":"[redacted]"}`, text(command.DropSecrets("login", command.Parameters(`{"pass":"x"}`))))
}

func text(p command.Parameters) string { return string([]byte(p)) }

// Whatever is sent: what is left is an object that redaction leaves alone, and no secret of it.
func FuzzRedact(f *testing.F) {
	for _, seed := range []string{
		`{}`, ` { "registration_token" : "x" , "runner_url":"y"}`, `{"a":{"b":[1,2,{"c":null}]}}`, `{"a":1}{"b":2}`, `{"a":1,"a":2}`,
		`{"\ud800":"x","registration_token":"\u0078"}`, `{"":""}`, "{\"\xff\":1}", `[{"a":1}]`, `"a"`, `{"a":1}}`, `{"a"`, `null`,
	} {
		f.Add("register_runner", []byte(seed))
		f.Add("unheard_of", []byte(seed))
	}
	f.Fuzz(func(t *testing.T, typ string, p []byte) {
		before := bytes.Clone(p)
		out := command.Redact(command.Type(typ), p)
		require.Equal(t, before, p, "it is not written to")
		var object map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(out, &object))
		require.Equal(t, text(out), text(command.Redact(command.Type(typ), out)))
		for name, value := range object {
			if typ == "unheard_of" || name == "registration_token" {
				require.Equal(t, `"[redacted]"`, string(value))
			}
		}
		kept := command.DropSecrets(command.Type(typ), p)
		require.Equal(t, text(kept), text(command.DropSecrets(command.Type(typ), kept)))
	})
}
