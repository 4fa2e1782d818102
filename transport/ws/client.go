package ws

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// Options are optional.
type Options struct {
	// TLS is for https, and an error for http. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Token is asked for a bearer token before each dial. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config.
	Insecure bool
}

// Transport dials links over WebSocket. It is safe for concurrent use.
type Transport struct {
	base   *url.URL
	dialer websocket.Dialer
	token  transport.TokenSource

	// frames says that answers to upgrades lose their headers on the way: the welcome has to come as a frame.
	frames atomic.Bool
}

// New returns a Transport to the controller at url (http or https, as in transport.Config). A proxy
// is taken from the environment.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.Base(url, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure})
	if err != nil {
		return nil, err
	}
	if base.Scheme == "https" {
		base.Scheme = "wss"
	} else {
		base.Scheme = "ws"
	}
	network := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	return &Transport{
		base:  base,
		token: o.Token,
		dialer: websocket.Dialer{
			NetDialContext:   network.DialContext,
			Proxy:            http.ProxyFromEnvironment,
			TLSClientConfig:  secure.TLS(o.TLS),
			HandshakeTimeout: 15 * time.Second,
			ReadBufferSize:   writeBuffer,
			WriteBufferSize:  writeBuffer,
			WriteBufferPool:  &writeBuffers,
			Subprotocols:     []string{greeted, subprotocol},
		},
	}, nil
}

// Open is New for a transport.Registry.
func Open(c transport.Config) (transport.Transport, error) {
	return New(c.URL, Options{TLS: c.TLS, Token: c.Token, Insecure: c.Insecure})
}

// Dial implements transport.Transport.
func (t *Transport) Dial(ctx context.Context, hello transport.Hello) (transport.Link, error) {
	if err := transport.ValidateVM(hello.VM); err != nil {
		return nil, err
	}
	header := http.Header{}
	if err := httplink.Authorize(ctx, header, t.token); err != nil {
		return nil, err
	}
	u := httplink.VMURL(t.base, hello.VM, "commands", "ws")
	u.RawQuery = query(hello)
	dialer := t.dialer
	if t.frames.Load() {
		dialer.Subprotocols = []string{subprotocol}
	}
	conn, resp, err := dialer.DialContext(ctx, u.String(), header)
	if err != nil {
		if resp != nil {
			defer httplink.Drain(resp.Body)
			return nil, httplink.ReadError(resp)
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		// The connection has ctx's deadline, and may notice it first.
		if deadline, ok := ctx.Deadline(); ok && errors.Is(err, os.ErrDeadlineExceeded) && !time.Now().Before(deadline) {
			return nil, context.DeadlineExceeded
		}
		return nil, fmt.Errorf("ws: %w", err)
	}
	switch got := conn.Subprotocol(); got {
	case greeted:
		w, err := welcome(resp)
		if err != nil {
			conn.Close()
			t.frames.Store(true)
			return nil, err
		}
		return framed.Dial(ctx, newPipe(conn), hello, framed.DialOptions{Welcome: w})
	case subprotocol:
		return framed.Dial(ctx, newPipe(conn), hello, framed.DialOptions{})
	default:
		conn.Close()
		return nil, httplink.Foreign(resp, fmt.Sprintf("it speaks %q, neither %q nor %q", got, greeted, subprotocol))
	}
}

// query is the hello.
func query(hello transport.Hello) string {
	hello.Alive = 0 // the ends of a WebSocket notice that the other is gone
	q := httplink.Query(hello)
	if hello.Uplink {
		q.Set("uplink", "true")
	}
	return q.Encode()
}

// welcome is the controller's answer to an upgrade.
func welcome(resp *http.Response) (*framed.Welcome, error) {
	keepalive, err := strconv.ParseFloat(resp.Header.Get(keepaliveHeader), 64)
	if err != nil {
		return nil, httplink.Foreign(resp, "it upgrades, without the header "+keepaliveHeader)
	}
	return &framed.Welcome{Version: framed.Version, Keepalive: keepalive}, nil
}
