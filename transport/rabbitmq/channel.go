package rabbitmq

import (
	"context"
	"errors"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
)

// defaultExchange hands a message to whom its key names.
const defaultExchange = ""

var errConfirm = errors.New("the broker did not take a message")

// channel is one of a connection, which ends with it, or when the broker closes it for what was asked over it.
type channel struct {
	*amqp.Channel
	of    *connection
	ended chan struct{} // closed at the end; err says why then
	err   error
}

func (c *connection) channel() (*channel, error) {
	opened, err := c.Channel()
	if err != nil {
		return nil, err
	}
	ch := &channel{Channel: opened, of: c, ended: make(chan struct{}), err: broker.ErrLost}
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	go func() {
		if err := <-closed; err != nil {
			ch.err = err
		}
		close(ch.ended)
	}()
	return ch, nil
}

// confirms has the broker say what it has taken, and calls returned with what it could not hand to anyone.
func (ch *channel) confirms(returned func(*amqp.Return)) error {
	returns := ch.NotifyReturn(make(chan amqp.Return, 1))
	go func() {
		for r := range returns {
			returned(&r)
		}
	}()
	return ch.Confirm(false)
}

// properties are what a message has beside its body.
type properties struct {
	replyTo string // where the answer is to go, or empty
	session string // of the link, where a queue has those of several, or empty
}

// publish returns when the broker has taken a message, which may yet be returned.
func (ch *channel) publish(ctx context.Context, exchange, key string, b []byte, p properties) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	confirmed, err := ch.PublishWithDeferredConfirm(exchange, key, true, false, amqp.Publishing{
		ContentType: "application/json", UserId: ch.of.user, ReplyTo: p.replyTo, CorrelationId: p.session, Body: b,
	})
	if err != nil {
		return ch.why(err)
	}
	return ch.confirmed(ctx, confirmed)
}

// confirmed returns when the broker has taken what was published.
func (ch *channel) confirmed(ctx context.Context, taken *amqp.DeferredConfirmation) error {
	select {
	case <-taken.Done():
		if !taken.Acked() {
			return ch.why(errConfirm)
		}
		return nil
	case <-ch.ended:
		return ch.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// why is the reason for which the channel has ended, if that is why something failed.
func (ch *channel) why(err error) error {
	select {
	case <-ch.ended:
		return ch.err
	case <-time.After(closeTimeout):
		return err
	}
}
