package gcppubsub

import (
	"context"
	"maps"
	"strconv"
	"sync"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/internal/broker"
)

// Attributes of messages.
const (
	attrSession = "session"
	attrVM      = "vm"
	attrN       = "n"
	attrFrom    = "from"
	attrTo      = "to"
)

// outbox is one direction of a link: it numbers what it publishes, one after the other.
type outbox struct {
	client *client

	mu         sync.Mutex
	n          int
	topic      string
	key        string
	attributes map[string]string
}

// publish returns broker.ErrGone where the topic is gone.
func (o *outbox) publish(ctx context.Context, b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	m := &pubsubpb.PubsubMessage{Data: b, OrderingKey: o.key, Attributes: maps.Clone(o.attributes)}
	m.Attributes[attrN] = strconv.Itoa(o.n + 1)
	_, err := o.client.topics.Publish(ctx, &pubsubpb.PublishRequest{Topic: o.topic, Messages: []*pubsubpb.PubsubMessage{m}})
	switch {
	case status.Code(err) == codes.NotFound:
		return broker.ErrGone
	case err != nil:
		return bare(err)
	}
	o.n++
	return nil
}

// inbox is one direction of a link: it hands on what comes, once. That nothing is missing is seen to by
// package framed.
type inbox struct {
	pipe *broker.Pipe
	n    int
}

func (i *inbox) take(m *pubsubpb.PubsubMessage) {
	if n, err := strconv.Atoi(m.Attributes[attrN]); err == nil && n > i.n {
		i.n = n
		i.pipe.Deliver(m.Data)
	}
}
