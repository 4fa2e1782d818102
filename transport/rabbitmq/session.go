package rabbitmq

import (
	"context"
	"strings"
	"sync/atomic"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/miglink/miglink/internal/broker"
)

// session is one link of an agent: a channel of its connection.
type session struct {
	vm, id string // the token of the VM, and the session
	conn   *agentConnection
	rest   func() // keeps the connection for the next link
	pipe   *broker.Pipe

	ch       *channel
	greeted  bool                   // the hello was published; only the goroutine that sends reads and writes it
	up       atomic.Pointer[string] // the key of what follows the hello, once the controller has given it
	gone     atomic.Bool            // the controller is, or there is none: the broker has said so
	leaving  atomic.Bool            // the agent is: a goodbye was said
	consumed chan struct{}          // closed when nothing more comes
}

// open makes what the session hears by, and its pipe.
func (s *session) open() (err error) {
	if s.ch, err = s.conn.channel(); err != nil {
		return err
	}
	s.consumed = make(chan struct{})
	s.pipe = broker.NewPipe(broker.PipeOptions{Name: "rabbitmq", Publish: s.publish, Release: s.release})
	if err = s.ch.confirms(s.returned); err != nil {
		return s.ch.why(err)
	}
	if !s.conn.declared {
		if _, err = s.ch.QueueDeclare(s.conn.queue, false, false, true, false, nil); err != nil {
			return s.ch.why(err)
		}
		s.conn.declared = true
	}
	in, err := s.ch.Consume(s.conn.queue, "", true, true, false, false, nil)
	if err != nil {
		return s.ch.why(err)
	}
	go s.consume(in)
	return nil
}

// consume hands on what comes, until the channel ends.
func (s *session) consume(in <-chan amqp.Delivery) {
	defer close(s.consumed)
	for d := range in {
		if d.CorrelationId != s.id { // of an earlier link: its controller may live, and say goodbye
			continue
		}
		if strings.HasPrefix(d.ReplyTo, "up."+s.link()+".") {
			s.up.Store(&d.ReplyTo)
		}
		s.pipe.Deliver(d.Body)
	}
	<-s.ch.ended
	s.pipe.Fail(s.ch.err)
}

func (s *session) link() string { return s.vm + "." + s.id }

func (s *session) publish(ctx context.Context, b []byte) error {
	if len(b) == 0 {
		s.leaving.Store(true)
	}
	switch key := s.up.Load(); {
	case key != nil:
		return s.ch.publish(ctx, s.conn.exchange, *key, b, properties{})
	case len(b) == 0 || s.greeted: // there is nobody yet to say it to
		return broker.ErrGone
	}
	s.greeted = true
	return s.ch.publish(ctx, s.conn.exchange, "hello."+s.link(), b, properties{replyTo: s.conn.queue})
}

// returned is called for what no controller hears. It shows that the connection is good in both directions, which a
// goodbye does not.
func (s *session) returned(r *amqp.Return) {
	s.gone.Store(true)
	if r.RoutingKey == "hello."+s.link() {
		s.pipe.Fail(errNobody)
	} else {
		s.pipe.Fail(broker.ErrGone)
	}
}

// release is called once, at the end.
func (s *session) release() {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if s.gone.Load() && !s.leaving.Load() && s.conn.within(ctx, s.ch.Close) == nil {
		s.rest()
	} else {
		s.conn.hangUp()
	}
	<-s.consumed
}
