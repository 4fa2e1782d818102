package gcppubsub

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"runtime"

	"cloud.google.com/go/compute/metadata"
)

var errNoCredentials = errors.New("could not find default credentials: neither in the file that GOOGLE_APPLICATION_CREDENTIALS names, nor in one of gcloud's, nor at a metadata server")

// findCredentials says whether the library will find default credentials. The library asks once whether there is a metadata
// server, and keeps the answer until the process ends: it must not ask before there is one.
func (s *settings) findCredentials(ctx context.Context) error {
	if len(s.options) > 0 || os.Getenv("PUBSUB_EMULATOR_HOST") != "" || os.Getenv("GOOGLE_APPLICATION_CREDENTIALS") != "" {
		return nil
	}
	if _, err := os.Stat(gcloudFile()); err == nil || metadata.NewClient(nil).OnGCEWithContext(ctx) {
		return nil
	}
	return errNoCredentials
}

// gcloudFile is where gcloud puts default credentials, and the library looks for them.
func gcloudFile() string {
	const name = "application_default_credentials.json"
	if runtime.GOOS == "windows" {
		return filepath.Join(os.Getenv("APPDATA"), "gcloud", name)
	}
	home, _ := os.UserHomeDir()
	return filepath.Join(home, ".config", "gcloud", name)
}
