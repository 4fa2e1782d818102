package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/miglink/miglink/internal/broker"
	"github.com/miglink/miglink/internal/secure"
)

const (
	queueGroup     = "miglink"
	connectTimeout = 10 * time.Second
	flushTimeout   = 5 * time.Second // a write that takes longer is to a broker that is dead
)

// checkPrefix returns the prefix to use, or why it cannot be one.
func checkPrefix(prefix string) (string, error) {
	if prefix == "" {
		return broker.DefaultPrefix, nil
	}
	if strings.ContainsAny(prefix, " \t\r\n*>") || strings.HasPrefix(prefix, ".") || strings.HasSuffix(prefix, ".") || strings.Contains(prefix, "..") {
		return "", fmt.Errorf("%q is no prefix of subjects", prefix)
	}
	return prefix, nil
}

// checkURL accepts one URL, or several with commas, of servers of one cluster.
func checkURL(raw string) error {
	for part := range strings.SplitSeq(raw, ",") {
		u, err := url.Parse(strings.TrimSpace(part))
		if err != nil || u.Host == "" || u.Scheme != "nats" && u.Scheme != "tls" && u.Scheme != "ws" && u.Scheme != "wss" {
			return errors.New("the broker's URL is to be like nats://host:4222") // it may hold a password
		}
	}
	return nil
}

// withTLS is for tls:// and where the broker wants it; nats.Secure would insist.
func withTLS(c *tls.Config) nats.Option {
	return func(o *nats.Options) error {
		o.TLSConfig = secure.TLS(c)
		return nil
	}
}

// dialer connects for the library, which forgets why it could not.
type dialer struct {
	ctx context.Context
	mu  sync.Mutex
	err error
}

func (d *dialer) Dial(network, address string) (net.Conn, error) {
	n := net.Dialer{Timeout: connectTimeout, KeepAlive: 15 * time.Second}
	conn, err := n.DialContext(d.ctx, network, address)
	if err != nil {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.err = err
	}
	return conn, err
}

// queueLength is how many messages of one link may wait to be read, far more than are under way. The
// library makes room for all of them, by default for 65,536, which is half a MiB. One that is dropped is
// noticed by its number.
const queueLength = 512

// connect connects, or says why it could not.
func connect(ctx context.Context, raw string, options ...nats.Option) (*nats.Conn, error) {
	timeout := connectTimeout
	if deadline, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(deadline))
	}
	if timeout <= 0 {
		return nil, context.DeadlineExceeded
	}
	d := &dialer{ctx: ctx}
	options = append([]nats.Option{
		nats.SetCustomDialer(d),
		nats.Timeout(timeout),
		nats.FlusherTimeout(flushTimeout),
		nats.ReconnectBufSize(-1), // what cannot be sent now is said again, over another link
		nats.PermissionErrOnSubscribe(true),
		nats.PingInterval(15 * time.Second),
		nats.MaxPingsOutstanding(1),
		nats.SyncQueueLen(queueLength),
	}, options...)
	conn, err := nats.Connect(raw, options...)
	if err == nil {
		return conn, nil
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if errors.Is(err, nats.ErrNoServers) && d.err != nil {
		err = d.err
	}
	return nil, fmt.Errorf("nats: %w", bare(err))
}

// bare is an error of the library without its name, which is ours, too.
func bare(err error) error { return broker.Bare("nats", err) }
