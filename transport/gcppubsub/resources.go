package gcppubsub

import (
	"context"
	"errors"
	"strings"
	"time"

	"cloud.google.com/go/pubsub/v2/apiv1/pubsubpb"
	"google.golang.org/api/iterator"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
)

const (
	forever    time.Duration = 0
	aDay                     = 24 * time.Hour // the least that Pub/Sub takes
	retention                = 10 * time.Minute
	sweepEvery               = 6 * time.Hour

	controllerLabel = "miglink-controller" // of a link's topic
)

// subscription is one that is ordered, and expires when nothing has been pulled for so long.
func subscription(n name, topic string, expires time.Duration) *pubsubpb.Subscription {
	policy := &pubsubpb.ExpirationPolicy{} // without a TTL: never
	if expires != forever {
		policy.Ttl = durationpb.New(expires)
	}
	return &pubsubpb.Subscription{
		Name: n.subscription(), Topic: topic, AckDeadlineSeconds: ackDeadline, EnableMessageOrdering: true,
		MessageRetentionDuration: durationpb.New(retention), ExpirationPolicy: policy,
	}
}

// makeTopic makes a topic that does not exist; where it does, nobody needs the right to make it.
func (c *client) makeTopic(ctx context.Context, n name) error {
	_, err := c.topics.GetTopic(ctx, &pubsubpb.GetTopicRequest{Topic: n.topic()}, once())
	if status.Code(err) != codes.NotFound {
		return err
	}
	_, err = c.topics.CreateTopic(ctx, &pubsubpb.Topic{Name: n.topic()}, once())
	return unless(err, codes.AlreadyExists)
}

func (c *client) makeSubscription(ctx context.Context, s *pubsubpb.Subscription) error {
	_, err := c.subs.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: s.Name}, once())
	if status.Code(err) != codes.NotFound {
		return err
	}
	_, err = c.subs.CreateSubscription(ctx, s, once())
	return unless(err, codes.AlreadyExists)
}

// makeLink makes what a link needs, and says whether some of it is there, and is ours to delete. A topic that exists is
// somebody else's, and so may one be whose making was not answered: where it is ours after all, sweep finds it.
func (l *Listener) makeLink(ctx context.Context, session string) (made bool, err error) {
	n := l.link(session)
	if _, err := l.topics.CreateTopic(ctx, &pubsubpb.Topic{Name: n.topic(), Labels: map[string]string{controllerLabel: l.id}}, once()); err != nil {
		return false, err
	}
	_, err = l.subs.CreateSubscription(ctx, subscription(n, n.topic(), aDay))
	return true, unless(err, codes.AlreadyExists) // ours, by a try whose answer was lost: the topic is
}

func (c *client) deleteLink(n name) error {
	ctx, cancel := context.WithTimeout(context.Background(), callTimeout)
	defer cancel()
	err := c.subs.DeleteSubscription(ctx, &pubsubpb.DeleteSubscriptionRequest{Subscription: n.subscription()})
	return errors.Join(
		unless(err, codes.NotFound),
		unless(c.topics.DeleteTopic(ctx, &pubsubpb.DeleteTopicRequest{Topic: n.topic()}), codes.NotFound),
	)
}

func unless(err error, code codes.Code) error {
	if status.Code(err) == code {
		return nil
	}
	return err
}

// sweep deletes from time to time what links had whose controllers were killed, or could not delete it: a
// project may have 10,000 topics, and they do not expire.
func (l *Listener) sweep() {
	for {
		if err := l.sweepOnce(l.links.Context()); err != nil && l.links.Context().Err() == nil {
			l.links.Log.Warn("cannot look for what dead controllers left", "error", bare(err))
		}
		select {
		case <-time.After(sweepEvery):
		case <-l.links.Context().Done():
			return
		}
	}
}

func (l *Listener) sweepOnce(ctx context.Context) error {
	lives := map[string]bool{} // other controllers
	topics := l.topics.ListTopics(ctx, &pubsubpb.ListTopicsRequest{Project: "projects/" + l.projectOfLinks})
	for {
		t, err := topics.Next()
		if errors.Is(err, iterator.Done) {
			return nil
		}
		if err != nil {
			return err
		}
		session, ok := strings.CutPrefix(t.Name, l.link("").topic())
		owner := t.Labels[controllerLabel]
		if !ok || owner == "" {
			continue
		}
		if _, known := lives[owner]; !known && owner != l.id {
			if lives[owner], err = l.lives(ctx, owner); err != nil {
				return err
			}
		}
		if lives[owner] || owner == l.id && l.has(session) {
			continue
		}
		if err := l.deleteLink(l.link(session)); err != nil {
			return err
		}
	}
}

// lives says whether a controller has listened within the last day.
func (l *Listener) lives(ctx context.Context, controller string) (bool, error) {
	_, err := l.subs.GetSubscription(ctx, &pubsubpb.GetSubscriptionRequest{Subscription: l.upOf(controller).subscription()})
	return err == nil, unless(err, codes.NotFound)
}

func (l *Listener) has(session string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sessions[session] != nil
}
