package rabbitmq_test

import (
	"context"
	"net"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/rabbitmq"
)

// A broker that takes the connection and says nothing holds up a dial for as long as its context, at any moment and also
// where the program dials by itself.
func TestDialEndsWithItsContext(t *testing.T) {
	t.Parallel()
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	for name, end := range map[string]func(cancel func()){
		"while the broker is dialled": func(cancel func()) { cancel() },
		"later":                       func(cancel func()) { go cancel() },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		tr, err := rabbitmq.New("amqp://guest:guest@"+mute.Addr().String(), rabbitmq.Options{AMQP: func(c *amqp.Config) {
			c.Dial = func(network, addr string) (net.Conn, error) {
				conn, err := net.Dial(network, addr)
				end(cancel)
				return conn, err
			}
		}})
		require.NoError(t, err)
		_, err = tr.Dial(ctx, transport.Hello{VM: "vm-1"})
		require.ErrorIs(t, err, context.Canceled, name)
	}
}
