package secure_test

import (
	"crypto/tls"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/secure"
)

func TestTLS(t *testing.T) {
	t.Parallel()
	const v12, v13 = tls.VersionTLS12, tls.VersionTLS13
	require.EqualValues(t, v13, secure.TLS(nil).MinVersion)
	for _, test := range []struct{ min, max, want uint16 }{
		{0, 0, v13},
		{0, v13, v13},
		{0, v12, 0}, // and nobody is shut out
		{v12, 0, v12},
		{v12, v12, v12},
		{v13, 0, v13},
	} {
		given := &tls.Config{MinVersion: test.min, MaxVersion: test.max, ServerName: "host"}
		got := secure.TLS(given)
		require.Equal(t, test.want, got.MinVersion, "%+v", test)
		require.Equal(t, "host", got.ServerName)
		require.Equal(t, test.min, given.MinVersion, "it is another's")
	}
}
