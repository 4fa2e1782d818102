package redis_test

import (
	"crypto/tls"
	"testing"

	"github.com/alicebob/miniredis/v2"
	redisgo "github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/internal/certtest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/redis"
)

// TLS 1.2 is spoken by who has said so, here or by the library's own options.
func TestOldTLS(t *testing.T) {
	t.Parallel()
	ca := certtest.NewAuthority(t)
	addr, versions := certtest.Front(t, certtest.Old(t, ca), miniredis.RunT(t).Addr())
	url := "rediss://" + addr
	c := brokertest.Controller(t)
	ours, old := &tls.Config{RootCAs: ca.Pool()}, &tls.Config{RootCAs: ca.Pool(), MinVersion: tls.VersionTLS12}
	library := func(o *redisgo.Options) {
		o.TLSConfig = old.Clone()
		o.TLSConfig.ServerName = "localhost"
	}

	_, err := redis.Listen(t.Context(), url, c, redis.ListenOptions{TLS: ours})
	require.ErrorContains(t, err, "protocol version")
	for _, o := range []redis.Options{{}, {TLS: ours}} {
		tr, err := redis.New(url, o)
		require.NoError(t, err)
		_, err = brokertest.Dial(t, tr)
		require.ErrorContains(t, err, "protocol version")
	}
	for _, o := range []redis.ListenOptions{{TLS: old}, {Redis: library}} {
		l, err := redis.Listen(t.Context(), url, c, o)
		require.NoError(t, err)
		require.NoError(t, l.Close())
		require.EqualValues(t, tls.VersionTLS12, <-versions)
	}
	listen(t, url, c, redis.ListenOptions{TLS: old})
	for _, o := range []redis.Options{{TLS: old}, {Redis: library}} {
		tr, err := redis.New(url, o)
		require.NoError(t, err)
		l, err := brokertest.Dial(t, tr)
		require.NoError(t, err)
		require.NoError(t, l.Close())
	}
	tr, err := redis.Open(transport.Config{Broker: url, TLS: old})
	require.NoError(t, err)
	l, err := brokertest.Dial(t, tr)
	require.NoError(t, err)
	require.NoError(t, l.Close())
}
