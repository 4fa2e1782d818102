package rabbitmq_test

import (
	"net/url"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/internal/brokertest"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// A controller that starts says so, and agents of one that has died come to it, long before they would miss it.
func TestStartedIsHeard(t *testing.T) {
	t.Parallel()
	to := server(t)
	u, err := url.Parse(to)
	require.NoError(t, err)
	if u.Port() == "" {
		u.Host += ":5672"
	}
	prefix := "miglink-" + uuid.NewString()
	tr, err := rabbitmq.New(to, rabbitmq.Options{Prefix: prefix})
	require.NoError(t, err)
	brokertest.Started(t, u.Host, func(addr string, to transport.Transport) (brokertest.Listener, error) {
		at := *u
		at.Host = addr
		return rabbitmq.Listen(t.Context(), at.String(), to, rabbitmq.ListenOptions{Prefix: prefix, Keepalive: brokertest.Silent})
	}, tr)
}
