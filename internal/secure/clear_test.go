package secure_test

import (
	"bytes"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/secure"
)

func TestLoopback(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "localhost", "LOCALHOST", "localhost.", "a.localhost", "A.b.LocalHost."} {
		require.True(t, secure.Loopback(host), host)
	}
	for _, host := range []string{
		"", "0.0.0.0", "::", "10.0.0.1", "192.168.0.1", "169.254.169.254", "example.com", "localhost.example.com", "mylocalhost", "127.0.0.1.example.com",
		"127.1", "0x7f.0.0.1", "2130706433", "::2", "::ffff:10.0.0.1", "[::1]", "localhost..", ".localhost.example.com",
	} {
		require.False(t, secure.Loopback(host), host)
	}
}

// What each URL may be used for: a token beyond the loopback, a configuration of TLS.
func TestCheck(t *testing.T) {
	t.Parallel()
	token, tls := secure.Use{Token: true}, secure.Use{TLS: true}
	for _, test := range []struct{ url, token, tls string }{
		{"https://h", "", ""},
		{"http://h", "use https://", "use https://"},
		{"http://h:80/path", "to h in the clear", "http://h speaks no TLS"},
		{"http://127.0.0.1:8080", "", "use https://"},
		{"http://[::1]:8080", "", "use https://"},
		{"http://localhost", "", "use https://"},
		{"http://[fe80::1%25eth0]", "in the clear", "use https://"},
		{"HTTP://h", "use https://", "use https://"},
		{"nats://h", "use tls://", ""}, // which is TLS then
		{"nats://127.0.0.1", "", ""},
		{"tls://h", "", ""},
		{"ws://h", "use wss://", "use wss://"},
		{"wss://h", "", ""},
		{"nats://127.0.0.1:1, nats://h:2", "to h in the clear", ""},
		{"tls://127.0.0.1:1,ws://h:2", "to h in the clear", "use wss://"},
		{"redis://u:s3cret@h:6379/1", "use rediss://", "use rediss://"},
		{"redis://", "", "use rediss://"},
		{"rediss://h", "", ""},
		{"unix:///run/redis.sock", "", "of no use"},
		{"amqp://u:s3cret@h/vhost", "use amqps://", "use amqps://"},
		{"amqps://h", "", ""},
		{"://", "", ""}, // who dials it refuses it
		{"h:80", "", ""},
	} {
		for _, c := range []struct {
			use  secure.Use
			want string
		}{{secure.Use{}, ""}, {token, test.token}, {tls, test.tls}, {secure.Use{Token: true, Insecure: true}, ""}, {secure.Use{TLS: true, Insecure: true}, test.tls}} {
			err := secure.Check(test.url, c.use)
			if c.want == "" {
				require.NoError(t, err, "%s: %+v", test.url, c.use)
				continue
			}
			require.ErrorContains(t, err, c.want, "%s: %+v", test.url, c.use)
			require.NotContains(t, err.Error(), "s3cret")
		}
	}
	require.ErrorContains(t, secure.Check("http://h", token), "--insecure")
}

func TestWarnPassword(t *testing.T) {
	t.Parallel()
	for url, warns := range map[string]bool{
		"redis://u:s3cret@h": true, "amqp://u:s3cret@h": true, "nats://u:s3cret@h": true,
		"redis://u:s3cret@127.0.0.1": false, "rediss://u:s3cret@h": false, "redis://u@h": false, "redis://h": false,
	} {
		var b bytes.Buffer
		for _, w := range secure.Parse(url) {
			secure.WarnPassword(slog.New(slog.NewTextHandler(&b, nil)), w, secure.HasPassword(url))
			secure.WarnPassword(nil, w, true)
		}
		require.Equal(t, warns, b.Len() > 0, url)
		require.NotContains(t, b.String(), "s3cret")
	}
}
