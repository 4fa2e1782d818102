package command_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/wirejson"
)

// What the deployed controller sends, one of each type, comes out as it went in.
func TestDeployedJSON(t *testing.T) {
	t.Parallel()
	const at = `"created_at":"2026-01-02T03:04:05Z"`
	for name, c := range map[string]struct {
		wire   string
		decode func(command.Command) (command.Params, error)
	}{
		"register_runner": {
			`{"id":"c-1","type":"register_runner","parameters":{"registration_token":"tok","runner_url":"https://ci.example.com/acme?a=1&b=<2>","runner_group":"default","labels":["self-hosted"],"expires_at":"2026-01-02T04:04:05Z"},` + at + `}`,
			decodeAs[command.RegisterRunner],
		},
		"drain":         {`{"id":"c-2","type":"drain","parameters":{"reason":"deploy","timeout":"30s"},` + at + `}`, decodeAs[command.Drain]},
		"shutdown":      {`{"id":"c-3","type":"shutdown","parameters":{"reason":"scale-in","force":true},` + at + `}`, decodeAs[command.Shutdown]},
		"update_config": {`{"id":"c-4","type":"update_config","parameters":{"config_key":"k","config_value":{"a":[1,null]}},` + at + `}`, decodeAs[command.UpdateConfig]},
		"set_log_level": {`{"id":"c-5","type":"set_log_level","parameters":{"level":"debug"},` + at + `}`, decodeAs[command.SetLogLevel]},
		"own": {`{"id":"c-6","type":"acme/rotate","parameters":{"text":"\"\u0001\r\n` + "\u2028😀" + `","html":"<&>"},` + at +
			`,"expires_at":"2026-01-02T03:05:05Z","idempotency_key":"k","supersede_key":"s","urgent":true}`, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var cmd command.Command
			require.NoError(t, json.Unmarshal([]byte(c.wire), &cmd))
			require.NoError(t, cmd.Validate())
			back, err := wirejson.Marshal(cmd)
			require.NoError(t, err)
			require.Equal(t, c.wire, string(back))
			if c.decode == nil {
				return
			}
			p, err := c.decode(cmd)
			require.NoError(t, err)
			again, err := command.New(p, command.Options{ID: cmd.ID})
			require.NoError(t, err)
			require.Equal(t, string(cmd.Parameters), string(again.Parameters), "the typed parameters lose nothing")
		})
	}
}

func decodeAs[P command.Params](c command.Command) (command.Params, error) {
	return command.Decode[P](c)
}

func TestNew(t *testing.T) {
	t.Parallel()
	c, err := command.New(command.Shutdown{}, command.Options{TTL: time.Minute})
	require.NoError(t, err)
	require.NotEmpty(t, c.ID)
	require.Equal(t, c.CreatedAt.Add(time.Minute), c.ExpiresAt)
	require.False(t, c.Expired(c.CreatedAt))
	require.True(t, c.Expired(c.ExpiresAt))
	other, err := command.NewRaw("own", nil, command.Options{})
	require.NoError(t, err)
	require.NotEqual(t, c.ID, other.ID)
	require.Equal(t, "{}", string(other.Parameters))
	require.False(t, other.Expired(time.Now().AddDate(100, 0, 0)), "it has no end")
}

func TestInvalid(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", command.MaxIDLength+1)
	object := func(n int) command.Parameters {
		return command.Parameters(`{"a":"` + strings.Repeat("x", n-len(`{"a":""}`)) + `"}`)
	}
	raw := func(kind command.Type, p string) func() (command.Command, error) {
		return func() (command.Command, error) {
			return command.NewRaw(kind, command.Parameters(p), command.Options{})
		}
	}
	options := func(o command.Options) func() (command.Command, error) {
		return func() (command.Command, error) { return command.New(command.Drain{}, o) }
	}
	for want, make := range map[string]func() (command.Command, error){
		"TTL of -1s is in the past":               options(command.Options{TTL: -time.Second}),
		"id: 129 bytes":                           options(command.Options{ID: long}),
		"id: not UTF-8":                           options(command.Options{ID: "\xff"}),
		`id is ".."`:                              options(command.Options{ID: ".."}),
		`id is "."`:                               options(command.Options{ID: "."}),
		`id: "a\nb" holds a control character`:    options(command.Options{ID: "a\nb"}),
		"idempotency_key: 129 bytes":              options(command.Options{IdempotencyKey: long}),
		"supersede_key: 129 bytes":                options(command.Options{SupersedeKey: long}),
		"type is empty":                           raw("", "{}"),
		"type has 129 bytes":                      raw(command.Type(long), "{}"),
		`type "Drain"`:                            raw("Drain", "{}"),
		`type "1st"`:                              raw("1st", "{}"),
		"parameters: not a JSON object":           raw("own", "[]"),
		"drain: timeout is negative":              raw("drain", `{"timeout":"-1s"}`),
		"drain: a duration is neither":            raw("drain", `{"timeout":"soon"}`),
		"drain: a duration is out of range":       raw("drain", `{"timeout":1e300}`),
		"shutdown: force is a JSON string":        raw("shutdown", `{"force":"yes"}`),
		"update_config: config_key is empty":      raw("update_config", `{}`),
		"set_log_level: level is not one of debu": raw("set_log_level", `{"level":"loud"}`),
		"registration_token is empty":             raw("register_runner", `{"runner_url":"https://ci"}`),
		"runner_url is not":                       raw("register_runner", `{"registration_token":"t","runner_url":"ci"}`),
		"labels holds an empty label":             raw("register_runner", `{"registration_token":"t","runner_url":"https://ci","labels":[""]}`),
		"command_id is empty":                     raw("cancel", `{}`),
	} {
		_, err := make()
		require.ErrorIs(t, err, command.ErrInvalid, want)
		require.ErrorContains(t, err, want)
		require.NotErrorIs(t, err, command.ErrTooLarge)
	}

	require.ErrorContains(t, command.Command{Type: "own", Parameters: command.Parameters("{}")}.Validate(), "id is empty")
	nested := func(n int) command.Parameters {
		return command.Parameters(`{"a":` + strings.Repeat("[", n-1) + strings.Repeat("]", n-1) + "}")
	}
	_, err := command.NewRaw("own", nested(command.MaxDepth), command.Options{})
	require.NoError(t, err, "the limit itself is allowed")
	for _, p := range []command.Parameters{
		nested(command.MaxDepth + 1), nested(9_999), command.Parameters(`{"a":"\u0000"}`), command.Parameters(`{"a":"\ud800"}`), command.Parameters("{\"a\":\"\xff\"}"), command.Parameters("{\"a\":1"), command.Parameters("{\"a\":\"\x00\"}"),
	} {
		_, err := command.NewRaw("own", p, command.Options{})
		require.ErrorIs(t, err, command.ErrInvalid)
		require.ErrorContains(t, err, "parameters: ")
	}

	_, err = command.NewRaw("own", object(command.MaxParameters), command.Options{})
	require.NoError(t, err, "the limit itself is allowed")
	_, err = command.NewRaw("own", object(command.MaxParameters+1), command.Options{})
	require.ErrorIs(t, err, command.ErrTooLarge)
	require.ErrorIs(t, err, command.ErrInvalid)

	drain, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	_, err = command.Decode[command.Shutdown](drain)
	require.ErrorContains(t, err, `type is "drain", not "shutdown"`)
}

// Times are within what RFC 3339 and Protocol Buffers can say, wherever the clock stands.
func TestTimes(t *testing.T) {
	t.Parallel()
	c, err := command.New(command.Drain{}, command.Options{})
	require.NoError(t, err)
	west, east := time.FixedZone("", -3600), time.FixedZone("", 3600)
	last, first := time.Date(9999, 12, 31, 23, 59, 59, 999_999_999, time.UTC), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC)
	for _, at := range []time.Time{{}, last, last.In(east), first.In(west)} {
		c.CreatedAt, c.ExpiresAt = at, at
		require.NoError(t, c.Validate(), at)
	}
	for _, at := range []time.Time{last.Add(1), last.Add(1).In(west), first.Add(-1), first.Add(-1).In(east), time.Date(12026, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)} {
		c.CreatedAt, c.ExpiresAt = at, time.Time{}
		require.ErrorContains(t, c.Validate(), "created_at is in the year", at)
		c.CreatedAt, c.ExpiresAt = first, at
		require.ErrorContains(t, c.Validate(), "expires_at is in the year", at)
		require.ErrorIs(t, c.Validate(), command.ErrInvalid)
	}
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{`"1m30s"`: 90 * time.Second, `90`: 90 * time.Second, `0.5`: 500 * time.Millisecond} {
		var d command.Duration
		require.NoError(t, json.Unmarshal([]byte(text), &d))
		require.Equal(t, want, time.Duration(d))
	}
}

func FuzzCommand(f *testing.F) {
	f.Add([]byte(`{"id":"c","type":"drain","parameters":{"timeout":30},"created_at":"2026-01-02T03:04:05Z"}`))
	f.Add([]byte(`{"id":"c","type":"own","parameters":null,"created_at":"2026-01-02T03:04:05+07:00","urgent":true}`))
	f.Add([]byte(`{"id":"","parameters":[]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var c command.Command
		if json.Unmarshal(b, &c) != nil || c.Validate() != nil {
			return
		}
		wire, err := wirejson.Marshal(c)
		require.NoError(t, err)
		var back command.Command
		require.NoError(t, json.Unmarshal(wire, &back))
		require.True(t, c.CreatedAt.Equal(back.CreatedAt))
		require.NoError(t, back.Validate())
		require.JSONEq(t, string(c.Parameters), string(back.Parameters))
		for _, decode := range []func(command.Command) (command.Params, error){
			decodeAs[command.RegisterRunner], decodeAs[command.Drain], decodeAs[command.Shutdown],
			decodeAs[command.UpdateConfig], decodeAs[command.SetLogLevel], decodeAs[command.Cancel],
		} {
			if _, err := decode(c); err != nil {
				require.ErrorIs(t, err, command.ErrInvalid)
			}
		}
	})
}
