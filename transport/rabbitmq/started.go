package rabbitmq

import (
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// A controller that starts says so by deleting a queue, which all agents consume and nobody writes to: the broker tells
// them. An agent may only read it, and so cannot say that a controller has started.

// unusedFor is when the broker deletes the queue by itself, in milliseconds, where no agent consumes it.
const unusedFor = 7 * 24 * 60 * 60 * 1000

// again is how long an agent waits before it consumes the queue again that was deleted.
const again = 5 * time.Second

func (s settings) started() string { return s.exchange + ".started" }

// sayStarted makes the queue, and where tell is set tells those who consume it.
func (c *connection) sayStarted(queue string, tell bool) error {
	ch, err := c.Channel() // of its own, which a permission that is missing closes
	if err != nil {
		return err
	}
	defer ch.Close()
	if tell {
		if _, err := ch.QueueDelete(queue, false, false, false); err != nil {
			return err
		}
	}
	_, err = ch.QueueDeclare(queue, true, false, false, false, amqp.Table{"x-expires": int32(unusedFor)})
	return err
}

// hearStarted calls heard when a controller has started, until the connection ends. Where it may not consume the queue,
// or there is none, it hears nothing, and a controller that has died is noticed by its silence.
func (c *connection) hearStarted(queue string, heard func()) {
	closed, ended := c.NotifyClose(make(chan *amqp.Error, 1)), make(chan struct{})
	go func() {
		defer close(ended)
		for range closed { // why does not matter
		}
	}()
	for {
		ch, err := c.Channel()
		if err != nil {
			return
		}
		deleted := ch.NotifyCancel(make(chan string, 1))
		in, err := ch.Consume(queue, "", true, false, false, false, nil)
		if err != nil {
			return // and the broker has closed the channel
		}
		for range in { // nothing comes
		}
		if _, ok := <-deleted; !ok {
			return
		}
		heard()
		_ = ch.Close() // the connection may have ended first
		select {
		case <-time.After(again):
		case <-ended:
			return
		}
	}
}
