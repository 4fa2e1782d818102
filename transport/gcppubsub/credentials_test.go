package gcppubsub_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/compute/metadata"
	"cloud.google.com/go/pubsub/v2/pstest"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/command"
	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/needs"
	"github.com/miglink/miglink/transport/gcppubsub"
)

// noCredentials leaves a test without any of Google's.
func noCredentials(t *testing.T) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "APPDATA": home, "GOOGLE_APPLICATION_CREDENTIALS": "", "PUBSUB_EMULATOR_HOST": "", "GCE_METADATA_HOST": "",
	} {
		t.Setenv(name, value)
	}
	if metadata.NewClient(nil).OnGCEWithContext(t.Context()) {
		needs.Machine(t, errors.New("it has one"), "this test is for a machine without a metadata server")
	}
}

// Credentials that cannot be found at the start are looked for again, where the caller wants that.
func TestNoCredentialsAtStart(t *testing.T) {
	noCredentials(t)
	s := pstest.NewServer()
	t.Cleanup(func() { s.Close() })
	c := brokertest.Controller(t)
	_, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{})
	require.ErrorContains(t, err, "could not find default credentials")
	missing := filepath.Join(t.TempDir(), "not there yet")
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", missing)
	l, err := gcppubsub.Listen(t.Context(), url, c, gcppubsub.ListenOptions{RetryOnFailedConnect: true, Keepalive: brokertest.Keepalive})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	require.ErrorContains(t, l.Ready(), missing)
	tr, err := gcppubsub.New(url, gcppubsub.Options{})
	require.NoError(t, err)
	a := brokertest.Run(t, tr)
	r := brokertest.Send(t, c, command.Drain{})
	t.Setenv("PUBSUB_EMULATOR_HOST", s.Addr)
	brokertest.AwaitReady(t, l)
	brokertest.Succeed(t, r)
	a.Stop(1)
}

// One that is closed before it has found any has nothing to close.
func TestCloseWithoutCredentials(t *testing.T) {
	noCredentials(t)
	l, err := gcppubsub.Listen(t.Context(), url, brokertest.Controller(t), gcppubsub.ListenOptions{RetryOnFailedConnect: true})
	require.NoError(t, err)
	require.NoError(t, l.Close())
}

// A metadata server that is not there at the start is asked once it is.
func TestMetadataServerLater(t *testing.T) {
	noCredentials(t)
	l, err := gcppubsub.Listen(t.Context(), url, brokertest.Controller(t), gcppubsub.ListenOptions{RetryOnFailedConnect: true})
	require.NoError(t, err)
	t.Cleanup(func() { l.Close() })
	require.ErrorContains(t, l.Ready(), "could not find default credentials")
	require.NoError(t, os.Setenv("GCE_METADATA_HOST", "127.0.0.1:1")) // noCredentials puts it back
	require.Eventually(t, func() bool {
		err := l.Ready() // with credentials from there it goes on to Pub/Sub, where it has no business
		return err != nil && !strings.Contains(err.Error(), "credentials")
	}, time.Minute, 10*time.Millisecond)
}
