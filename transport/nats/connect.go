package nats

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
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
	started        = ".started" // ends the subject on which controllers say that they have started
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

// withTLS is for tls:// and where the broker wants it; who gives a configuration of TLS insists on it.
func withTLS(c *tls.Config) nats.Option {
	return func(o *nats.Options) error {
		o.TLSConfig = secure.TLS(c)
		o.Secure = o.Secure || c != nil
		return nil
	}
}

// checkWays says why the broker's URLs cannot be used so. The library's own options may insist on TLS, too.
func checkWays(raw string, options []nats.Option, u secure.Use, log *slog.Logger) error {
	o := nats.GetDefaultOptions()
	for _, set := range options {
		if set == nil {
			continue
		}
		if err := set(&o); err != nil {
			return fmt.Errorf("nats: %w", bare(err))
		}
	}
	for _, w := range secure.Parse(raw) {
		w.TLS = w.TLS || w.Raises && o.Secure
		if err := w.Check(u); err != nil {
			return err
		}
		secure.WarnPassword(log, w, secure.HasPassword(raw) || o.Password != "" || o.Token != "")
	}
	return nil
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
		nats.PermissionErrOnSubscribe(true),
		nats.PingInterval(15 * time.Second),
		nats.MaxPingsOutstanding(1),
		nats.SyncQueueLen(queueLength),
	}, options...)
	// The library never connects again by itself: it gives up for good after two refusals, and what comes in between is
	// lost without a word. Who has lost a connection makes another.
	options = append(options, nats.NoReconnect(), nats.RetryOnFailedConnect(false))
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
