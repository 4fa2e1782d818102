package grpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
	"github.com/miglink/miglink/transport/grpc/miglinkv1/miglinkv1connect"
)

// maxMessage bounds one message, in bytes: a page of commands with the largest parameters, or of acks.
const maxMessage = 2 << 20

// Options are optional.
type Options struct {
	// TLS is for https, and an error for http. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Token is asked for a bearer token before each dial. Default: none.
	Token transport.TokenSource
	// Insecure lets the token go in the clear to another machine, as in transport.Config.
	Insecure bool
}

// Transport dials links over gRPC. It is safe for concurrent use.
type Transport struct {
	base    *url.URL // below which the service is
	o       Options
	proxyOf func(*http.Request) (*url.URL, error)
}

// defaultPath is where the HTTP endpoints are. The service is beside it.
const defaultPath = "/api/v1"

// New returns a Transport to the controller at url (http or https, as in transport.Config). The service is below the path
// of the URL, without the /api/v1 at its end: at the root for https://host and https://host/api/v1, and for
// https://host/team/api/v1 below /team. Each link has a connection of its own. A proxy is taken from the environment, and
// asked to CONNECT.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.Base(url, secure.Use{TLS: o.TLS != nil, Token: o.Token != nil, Insecure: o.Insecure})
	if err != nil {
		return nil, err
	}
	o.TLS = secure.TLS(o.TLS)
	base.Path = strings.TrimSuffix(base.Path, defaultPath)
	return &Transport{base: base, o: o, proxyOf: http.ProxyFromEnvironment}, nil
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
	if err := httplink.Authorize(ctx, header, t.o.Token); err != nil {
		return nil, err
	}
	p, err := t.newPipe()
	if err != nil {
		return nil, fmt.Errorf("grpc: %w", err)
	}
	for k, v := range header {
		p.stream.RequestHeader()[k] = v
	}
	return framed.Dial(ctx, p, hello, framed.DialOptions{})
}

// clientPipe is one stream, and the connection under it: one that is dead without a sign must not be
// dialled over again.
type clientPipe struct {
	stream *connect.BidiStreamForClient[pb.AgentFrame, pb.ControllerFrame]
	cancel context.CancelFunc

	mu     sync.Mutex
	conn   net.Conn
	plain  *plainConn // conn where it has no TLS; nil: none
	closed bool
}

func (t *Transport) newPipe() (*clientPipe, error) {
	ask, use, err := t.proxy()
	if err != nil {
		return nil, err
	}
	p := &clientPipe{}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: only{&http.Transport{
		Proxy: http.ProxyURL(use),
		DialContext: func(ctx context.Context, _, addr string) (net.Conn, error) {
			if ask != nil {
				conn, err := t.tunnel(ctx, ask, addr)
				return p.connected(conn, err, true)
			}
			conn, err := dialTCP(ctx, addr)
			return p.connected(conn, err, t.base.Scheme == "http")
		},
		TLSClientConfig:     t.o.TLS.Clone(), // net/http writes to it
		TLSHandshakeTimeout: 10 * time.Second,
		Protocols:           protocols,
		ForceAttemptHTTP2:   true,
	}}}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.stream = miglinkv1connect.NewCommandLinkClient(client, t.base.String(),
		connect.WithGRPC(), connect.WithCodec(codec{}), connect.WithAcceptCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage)).Attach(ctx)
	return p, nil
}

// connected keeps a connection that was made, unless the pipe was closed meanwhile.
func (p *clientPipe) connected(conn net.Conn, err error, plain bool) (net.Conn, error) {
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return nil, net.ErrClosed
	}
	if plain {
		p.plain = &plainConn{Conn: conn}
		conn = p.plain
	}
	p.conn = conn
	return conn, nil
}

func (p *clientPipe) Send(f *framed.Frame) error {
	if err := p.stream.Send(toAgentFrame(f)); err != nil {
		if f.Hello != nil { // connect says only that the stream has ended; Receive knows why
			if _, why := p.stream.Receive(); why != nil {
				err = why
			}
		}
		return p.said(err)
	}
	return nil
}

func (p *clientPipe) Recv() (*framed.Frame, error) {
	m, err := p.stream.Receive()
	if err != nil {
		return nil, p.said(err)
	}
	return fromControllerFrame(m), nil
}

func (p *clientPipe) Close() error {
	p.mu.Lock()
	p.closed = true
	conn := p.conn
	p.mu.Unlock()
	p.cancel()
	if conn != nil {
		conn.Close()
	}
	return nil
}
