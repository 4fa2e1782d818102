package rabbitmq

import (
	"context"
	"errors"

	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
)

// limits are the setting of a broker that bounds what one VM can have all others wait for.
const limits = "max_message_size = 4194304 in rabbitmq.conf"

// tryLimit publishes what no broker has to take, to a queue that does not exist. A broker that does not take it closes the
// channel.
func (l *Listener) tryLimit(ctx context.Context) (taken bool, err error) {
	c, err := l.settings.connect(ctx, "miglink controller, trial", func(string) {}, func(*connection) error { return nil })
	if err != nil {
		return false, err
	}
	defer c.close()
	// Not mandatory: it would come back.
	confirmed, err := c.out.PublishWithDeferredConfirm(defaultExchange, l.down("=."+uuid.NewString()), false, false, amqp.Publishing{
		UserId: c.user, Body: broker.Trial[:],
	})
	if err == nil {
		select {
		case <-confirmed.Done():
			if confirmed.Acked() {
				return true, nil
			}
			err = c.why(errConfirm)
		case <-c.ended:
			err = c.err
		case <-ctx.Done():
			return false, ctx.Err()
		}
	} else {
		err = c.why(err)
	}
	if e := (*amqp.Error)(nil); errors.As(err, &e) && e.Code == amqp.PreconditionFailed {
		return false, nil
	}
	return false, err
}
