package gcppubsub

import (
	"context"
	"net/url"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"github.com/googleapis/gax-go/v2"
)

// ackDeadline is in seconds, the least that Pub/Sub takes.
const ackDeadline = 10

// pull hands on what comes for a subscription, and acknowledges it, until ctx ends or a stream does that
// has not proven itself.
func (c *client) pull(ctx context.Context, subscription string, take func(*pubsubpb.PubsubMessage)) error {
	for {
		since := time.Now()
		err := c.stream(ctx, subscription, take)
		if ctx.Err() != nil || time.Since(since) < c.proven {
			return err
		}
	}
}

func (c *client) stream(ctx context.Context, subscription string, take func(*pubsubpb.PubsubMessage)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ctx = gax.InsertMetadataIntoOutgoingContext(ctx, "x-goog-request-params", "subscription="+url.QueryEscape(subscription))
	s, err := c.subs.StreamingPull(ctx, once())
	if err != nil {
		return err
	}
	// An error of Send is io.EOF; Recv says why.
	_ = s.Send(&pubsubpb.StreamingPullRequest{Subscription: subscription, StreamAckDeadlineSeconds: ackDeadline})
	for {
		r, err := s.Recv()
		if err != nil {
			return err
		}
		var ids []string
		for _, m := range r.ReceivedMessages {
			take(m.Message)
			ids = append(ids, m.AckId)
		}
		if len(ids) > 0 {
			_ = s.Send(&pubsubpb.StreamingPullRequest{AckIds: ids})
		}
	}
}
