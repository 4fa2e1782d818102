//go:build unix

package tlsfile_test

import (
	"bytes"
	"log/slog"
	"os"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport/tlsfile"
)

// Authorities of clients that others may write are not used: neither at first nor when they are read again.
func TestOthersMayWrite(t *testing.T) {
	t.Parallel()
	ours, theirs, files := certtest.NewAuthority(t), certtest.NewAuthority(t), certtest.NewFiles(t)
	files.Write(ours.Server(t, "127.0.0.1"), ours)
	synctest.Test(t, func(t *testing.T) {
		var logs bytes.Buffer
		server := tlsfile.ServerFiles{Cert: files.Cert, Key: files.Key, ClientCA: files.CA, Log: slog.New(slog.NewTextHandler(&logs, nil))}
		require.NoError(t, os.Chmod(files.CA, 0o666))
		_, err := tlsfile.Server(server)
		require.ErrorContains(t, err, "chmod go-w "+files.CA)
		require.NoError(t, os.Chmod(files.CA, 0o644))
		config, err := tlsfile.Server(server)
		require.NoError(t, err)

		require.NoError(t, os.Chmod(files.CA, 0o666))
		files.WriteCA(ours, theirs)
		time.Sleep(2 * time.Second)
		now, err := config.GetConfigForClient(nil)
		require.NoError(t, err)
		require.True(t, now.ClientCAs.Equal(ours.Pool()), "what was read before stays in use")
		require.Contains(t, logs.String(), "chmod go-w "+files.CA)
		require.NoError(t, os.Chmod(files.CA, 0o644))
		time.Sleep(2 * time.Second)
		now, err = config.GetConfigForClient(nil)
		require.NoError(t, err)
		require.False(t, now.ClientCAs.Equal(ours.Pool()))
	})
}
