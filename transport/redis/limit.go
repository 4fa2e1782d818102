package redis

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/google/uuid"

	"github.com/miglink/miglink/internal/broker"
)

// limits are the settings of a server on which one VM cannot end the links of the others with a message that is too
// large. The package documentation has them, and a test sets them as they are there.
const limits = "CONFIG SET proto-max-bulk-len 4mb, and client-output-buffer-limit \"pubsub 256mb 64mb 60\""

// tryLimit publishes what no server has to take, to a name that nobody hears. A server that does not take it ends the
// connection.
func (l *Listener) tryLimit(ctx context.Context) (taken bool, err error) {
	s := l.settings
	s.options.PoolSize = 1
	c := s.client("miglink-controller-trial")
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.Close() })() // the library ends no call with its context
	err = c.Publish(ctx, l.down("=:"+uuid.NewString()), broker.Trial[:]).Err()
	network := (*net.OpError)(nil)
	switch {
	case err == nil:
		return true, nil
	case ctx.Err() != nil:
		return false, ctx.Err()
	case strings.Contains(err.Error(), "Protocol error"), errors.Is(err, io.EOF):
		return false, nil
	case errors.As(err, &network) && !network.Timeout() && network.Op != "dial":
		return false, nil // it has hung up while the message was written
	}
	return false, bare(err)
}
