package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/controller/admin"
)

// A parameter that a known type does not have is refused before anything is sent, in a file, too, unless that is asked for.
// Types that this program does not know have any.
func TestUnknownParameters(t *testing.T) {
	t.Parallel()
	_, url := startController(t)
	const typo = `{"resaon":"x"}`
	file := func(lines string) string {
		name := filepath.Join(t.TempDir(), "commands")
		require.NoError(t, os.WriteFile(name, []byte(lines), 0o600))
		return name
	}
	typos := file(`{"vm_id":"vm-1","type":"deploy","parameters":{"any":1}}` + "\n" + `{"vm_id":"vm-1","type":"drain","parameters":` + typo + `}`)
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"vm-1", "drain", "--params", typo}, `drain: there is no parameter "resaon", did you mean "reason"? There are: reason, timeout; --unknown-parameters sends it all the same`},
		{[]string{"vm-1", "drain", "--params", `{"Reason":"x"}`}, `did you mean "reason"?`},
		{[]string{"vm-1", "set_log_level", "--params", `{"level":"debug","for":"1h"}`}, `there is no parameter "for". There are: level`},
		{[]string{"vm-1", "cancel", "--params", `{"command_id":"c","why":"x"}`}, "There are: command_id, reason"},
		{[]string{"--file", typos}, `line 2: drain: there is no parameter "resaon"`},
	} {
		o := miglink(t, append([]string{"send", "--controller", url}, test.args...)...)
		require.Equal(t, exitUsage, o.status, "%v: %s", test.args, o.errors)
		require.Contains(t, o.errors, test.want)
	}
	var sent []admin.Status
	require.NoError(t, json.Unmarshal([]byte(ok(t, "unsettled", "--controller", url, "--output", "json")), &sent))
	require.Empty(t, sent)

	for _, args := range [][]string{
		{"vm-1", "drain", "--params", typo, "--unknown-parameters"},
		{"--file", typos, "--unknown-parameters"},
		{"vm-1", "deploy", "--params", typo},
		{"vm-1", "update_config", "--params", `{"config_key":"k","config_value":{"any":{"depth":1}}}`},
		{"vm-1", "register_runner", "--params", `{"registration_token":"t","runner_url":"https://ci.example.com","runner_group":"g","labels":["a"],"expires_at":"2030-01-01T00:00:00Z"}`},
	} {
		ok(t, append([]string{"send", "--controller", url}, args...)...)
	}
}

// Each type that an agent of this program handles by itself is one whose parameters are known.
func TestKnownTypesHaveParameters(t *testing.T) {
	t.Parallel()
	for name := range policies() {
		require.Contains(t, parameters, name)
	}
}
