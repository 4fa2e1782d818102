package gcppubsub

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	pubsub "cloud.google.com/go/pubsub/v2/apiv1"
	"github.com/googleapis/gax-go/v2"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/miglink/miglink/internal/broker"
)

const (
	connectTimeout = 10 * time.Second
	callTimeout    = 5 * time.Second
	longestPause   = 5 * time.Second // before gRPC connects again
	proven         = 10 * time.Second
)

// settings are what both halves connect with.
type settings struct {
	project        string
	projectOfLinks string
	prefix         string
	options        []option.ClientOption
}

var (
	validProject = regexp.MustCompile(`^[A-Za-z0-9.:-]+$`)
	// https://cloud.google.com/pubsub/docs/pubsub-basics#resource_names, with room for what follows
	validPrefix = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._~+%-]{0,99}$`)
)

func newSettings(address, prefix string, options []option.ClientOption) (settings, error) {
	if prefix == "" {
		prefix = broker.DefaultPrefix
	}
	if !validPrefix.MatchString(prefix) || strings.HasPrefix(prefix, "goog") {
		return settings{}, fmt.Errorf("%q is no prefix of topics", prefix)
	}
	u, err := url.Parse(address)
	if err != nil || u.Scheme != "gcppubsub" {
		return settings{}, errors.New("the project's URL is to be like gcppubsub://PROJECT or gcppubsub://PROJECT/PROJECT-OF-LINKS")
	}
	s := settings{project: u.Host, projectOfLinks: strings.TrimPrefix(u.Path, "/"), prefix: prefix, options: options}
	if s.projectOfLinks == "" {
		s.projectOfLinks = s.project
	}
	for _, p := range []string{s.project, s.projectOfLinks} {
		if !validProject.MatchString(p) {
			return settings{}, fmt.Errorf("%q is no name of a project", p)
		}
	}
	return s, nil
}

// name is that of one topic, subscription or both.
type name struct{ project, id string }

func (n name) topic() string        { return "projects/" + n.project + "/topics/" + n.id }
func (n name) subscription() string { return "projects/" + n.project + "/subscriptions/" + n.id }

func (s *settings) hello() name { return name{s.project, s.prefix + "-hello"} }
func (s *settings) up() name    { return name{s.project, s.prefix + "-up"} }

func (s *settings) upOf(controller string) name {
	return name{s.project, s.prefix + "-up-" + controller}
}

func (s *settings) link(session string) name {
	return name{s.projectOfLinks, s.prefix + "-link-" + session}
}

// client is one connection for all that either half does.
type client struct {
	topics *pubsub.TopicAdminClient
	subs   *pubsub.SubscriptionAdminClient
	// proven is how long a stream has to last for its end to be nothing but Pub/Sub's habit.
	// https://cloud.google.com/pubsub/docs/streamingpull-troubleshooting
	proven time.Duration
}

// connect makes a client. Nothing has been tried then but to find credentials.
func (s *settings) connect(ctx context.Context) (*client, error) {
	// By default gRPC waits up to two minutes before it connects again, and each call fails meanwhile.
	again := backoff.DefaultConfig
	again.MaxDelay = longestPause
	if err := s.findCredentials(ctx); err != nil {
		return nil, fmt.Errorf("gcppubsub: %w", err)
	}
	topics, err := pubsub.NewTopicAdminClient(ctx, append([]option.ClientOption{
		option.WithGRPCConnectionPool(1),
		option.WithGRPCDialOption(grpc.WithConnectParams(grpc.ConnectParams{Backoff: again, MinConnectTimeout: connectTimeout})),
	}, s.options...)...)
	if err != nil {
		return nil, fmt.Errorf("gcppubsub: %w", bare(err))
	}
	subs, err := pubsub.NewSubscriptionAdminClient(ctx, option.WithGRPCConn(topics.Connection())) //nolint:staticcheck // the pool is of one
	if err != nil {
		topics.Close()
		return nil, fmt.Errorf("gcppubsub: %w", bare(err))
	}
	return &client{topics, subs, proven}, nil
}

func (c *client) Close() { c.topics.Close() }

// once has a call fail at its first error: who connects is to hear of it, and not wait.
func once() gax.CallOption { return gax.WithRetry(func() gax.Retryer { return nil }) }

// bare is what an error says, without what gRPC and the library put around it.
func bare(err error) error {
	if s, ok := status.FromError(err); ok && s.Code() != codes.Unknown {
		return &said{s.Message(), err}
	}
	return broker.Bare("pubsub", err)
}

type said struct {
	message string
	err     error
}

func (s *said) Error() string { return s.message }
func (s *said) Unwrap() error { return s.err }
