//go:build unix

package auth_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/auth"
)

// Where others may write they may add a key: such a directory is not opened, whatever is in it.
func TestOthersMayWriteKeys(t *testing.T) {
	t.Parallel()
	_, public, err := ed25519.GenerateKey(rand.Reader)
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "keys")
	require.NoError(t, os.Mkdir(dir, 0o700))
	name := filepath.Join(dir, "p.pem")
	writeKey(t, name, public.Public())
	refused := func(path string, mode, back os.FileMode) {
		t.Helper()
		require.NoError(t, os.Chmod(path, mode))
		remedy := "chmod go-w " + path
		if mode&os.ModeSticky != 0 {
			remedy = path + ": others may write it (mode 01777): it is shared on purpose"
		}
		_, err := auth.OpenKeys(dir, auth.KeysOptions{})
		require.ErrorContains(t, err, remedy)
		_, err = auth.NewKey(dir)
		require.ErrorContains(t, err, remedy)
		require.NoError(t, os.Chmod(path, back))
	}
	refused(dir, 0o777, 0o755)
	refused(dir, 0o777|os.ModeSticky, 0o755)
	refused(dir, 0o707, 0o755)
	refused(filepath.Dir(dir), 0o777, 0o755)
	refused(name, 0o666, 0o644)
	refused(name, 0o646, 0o644)
	_, err = auth.OpenKeys(dir, auth.KeysOptions{})
	require.NoError(t, err)
	if os.Geteuid() == 0 {
		require.NoError(t, os.Chown(name, 12345, 12345))
		_, err = auth.OpenKeys(dir, auth.KeysOptions{})
		require.ErrorContains(t, err, "uid 12345")
	}
}

// What others may write after it was opened is not used from the next look on: neither a file, whose owner is told,
// nor anything of a directory.
func TestOthersMayWriteKeysLater(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		_, dir, first := open(t)
		time.Sleep(time.Nanosecond)
		second, err := auth.NewKey(dir)
		require.NoError(t, err)
		var logs bytes.Buffer
		k, err := auth.OpenKeys(dir, auth.KeysOptions{Log: slog.New(slog.NewTextHandler(&logs, nil))})
		require.NoError(t, err)
		v := verifier(t, k)
		passes := func(token string) bool {
			_, err := v.Verify(token, auth.AudienceAgent)
			return err == nil
		}
		token := issue(t, k)
		require.Equal(t, second, kidOf(t, token))

		name := filepath.Join(dir, second+".pem")
		require.NoError(t, os.Chmod(name, 0o622))
		time.Sleep(time.Second)
		require.False(t, passes(token))
		require.Equal(t, first, kidOf(t, issue(t, k)))
		require.Equal(t, 1, strings.Count(logs.String(), "others may write are not used"), "%s", &logs)
		require.Contains(t, logs.String(), "chmod go-w "+name)
		require.NoError(t, os.Chmod(name, 0o600))
		time.Sleep(time.Second)
		require.True(t, passes(token))

		// Another's key, put there while others may write, is never used.
		require.NoError(t, os.Chmod(dir, 0o777))
		_, private, err := ed25519.GenerateKey(rand.Reader)
		require.NoError(t, err)
		writeKey(t, filepath.Join(dir, "zz.pem"), private)
		require.False(t, passes(forged(t, private, "zz")))
		require.False(t, passes(token))
		_, err = k.Issue(auth.Claims{Subject: "vm-1", Expires: time.Now().Add(time.Hour)}, auth.AudienceAgent)
		require.ErrorContains(t, err, "no private key")
		require.Contains(t, logs.String(), "chmod go-w "+dir)
		require.NoError(t, os.Remove(filepath.Join(dir, "zz.pem")))
		require.NoError(t, os.Chmod(dir, 0o700))
		time.Sleep(time.Second)
		require.True(t, passes(token))
	})
}
