package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// Of a type that is not the SDK's the controller takes for secret what it was not told to be none.
func TestOpenParameters(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "audit.log")
	_, url := startController(t, "--audit", path, "--open-parameters", "deploy=version,region", "--open-parameters", "probe=*")
	const params = `{"version":"v1","region":"eu","token":"s3cr3t"}`
	for _, typ := range []string{"deploy", "probe", "other"} {
		ok(t, "send", "vm-1", typ, "--controller", url, "--params", params)
	}
	b, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Contains(t, string(b), `"parameters":{"version":"v1","region":"eu","token":"[redacted]"}`)
	require.Contains(t, string(b), `"parameters":`+params)
	require.Contains(t, string(b), `"parameters":{"version":"[redacted]","region":"[redacted]","token":"[redacted]"}`)

	for given, want := range map[string]string{
		"register_runner=registration_token": "type register_runner is known, and so are its secrets",
		"deploy=version,":                    "the name of a parameter is empty",
		"Deploy=version":                     "may hold only a-z",
	} {
		o := miglink(t, "controller", "--open-parameters", given, "--data", t.TempDir())
		require.Equal(t, exitUsage, o.status)
		require.Contains(t, o.errors, "--open-parameters "+given)
		require.Contains(t, o.errors, want)
	}
}
