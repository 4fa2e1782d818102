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
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

// Options are optional.
type Options struct {
	// TLS is for wss. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Token is asked for a bearer token before each dial. Default: none.
	Token transport.TokenSource
}

// Transport dials links over WebSocket. It is safe for concurrent use.
type Transport struct {
	base   *url.URL
	dialer websocket.Dialer
	token  transport.TokenSource
}

// New returns a Transport to the controller at url (http or https, as in transport.Config). A proxy
// is taken from the environment.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.ParseBase(url)
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
	return New(c.URL, Options{TLS: c.TLS, Token: c.Token})
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
	conn, resp, err := t.dialer.DialContext(ctx, u.String(), header)
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
		return framed.Dial(ctx, newPipe(conn), hello, framed.DialOptions{Welcome: welcome(resp.Header)})
	case subprotocol: // of a controller before that
		return framed.Dial(ctx, newPipe(conn), hello, framed.DialOptions{})
	default:
		conn.Close()
		return nil, fmt.Errorf("ws: the server speaks %q, neither %q nor %q", got, greeted, subprotocol)
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

// welcome is the controller's answer.
func welcome(h http.Header) *framed.Welcome {
	keepalive, err := strconv.ParseFloat(h.Get(keepaliveHeader), 64)
	if err != nil {
		keepalive = 0 // the default
	}
	return &framed.Welcome{Version: framed.Version, Keepalive: keepalive}
}
