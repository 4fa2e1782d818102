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
	ctx, cancel := context.WithTimeout(ctx, connectTimeout)
	defer cancel()
	c, err := l.settings.connect(ctx, "miglink controller, trial")
	if err != nil {
		return false, err
	}
	defer c.hangUp()
	err = c.within(ctx, func() error {
		ch, err := c.channel()
		if err != nil {
			return err
		}
		if err := ch.confirms(func(*amqp.Return) {}); err != nil {
			return err
		}
		// Not mandatory: it would come back.
		confirmed, err := ch.PublishWithDeferredConfirm(defaultExchange, l.down("=")+uuid.NewString(), false, false, amqp.Publishing{
			UserId: c.user, Body: broker.Trial[:],
		})
		if err != nil {
			return ch.why(err)
		}
		return ch.confirmed(ctx, confirmed)
	})
	if err == nil {
		return true, nil
	}
	if e := (*amqp.Error)(nil); errors.As(err, &e) && e.Code == amqp.PreconditionFailed {
		return false, nil
	}
	return false, err
}
