package grpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
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
	// TLS is for https. Default: Go's. Where no MinVersion is set, TLS 1.3 is the least.
	TLS *tls.Config
	// Token is asked for a bearer token before each dial. Default: none.
	Token transport.TokenSource
}

// Transport dials links over gRPC. It is safe for concurrent use.
type Transport struct {
	url string // of the server's root
	o   Options
}

// New returns a Transport to the controller at url (http or https, as in transport.Config); its path is
// not used, since gRPC has paths of its own. Each link has a connection of its own.
func New(url string, o Options) (*Transport, error) {
	base, err := httplink.ParseBase(url)
	if err != nil {
		return nil, err
	}
	o.TLS = secure.TLS(o.TLS)
	return &Transport{url: base.Scheme + "://" + base.Host, o: o}, nil
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
	if err := httplink.Authorize(ctx, header, t.o.Token); err != nil {
		return nil, err
	}
	p := t.newPipe()
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
	closed bool
}

func (t *Transport) newPipe() *clientPipe {
	p := &clientPipe{}
	protocols := new(http.Protocols)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         p.dial,
		TLSClientConfig:     t.o.TLS.Clone(), // net/http writes to it
		TLSHandshakeTimeout: 10 * time.Second,
		Protocols:           protocols,
		ForceAttemptHTTP2:   true,
	}}
	ctx, cancel := context.WithCancel(context.Background())
	p.cancel = cancel
	p.stream = miglinkv1connect.NewCommandLinkClient(client, t.url,
		connect.WithGRPC(), connect.WithCodec(codec{}), connect.WithAcceptCompression("gzip", nil, nil), connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage)).Attach(ctx)
	return p
}

func (p *clientPipe) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 10 * time.Second, KeepAlive: 15 * time.Second}
	conn, err := d.DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		conn.Close()
		return nil, net.ErrClosed
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
		return said(err)
	}
	return nil
}

func (p *clientPipe) Recv() (*framed.Frame, error) {
	m, err := p.stream.Receive()
	if err != nil {
		return nil, said(err)
	}
	return fromControllerFrame(m)
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

// said tells what the peer answered in place of a stream from what was inferred.
func said(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("grpc: %w", err)
	}
	// connect has no name for an answer that is no gRPC.
	if !connect.IsWireError(err) && !strings.HasPrefix(e.Message(), "HTTP status ") {
		return fmt.Errorf("grpc: %w", httplink.Cause(e.Unwrap()))
	}
	return &transport.Error{Code: codeOf(e.Code()), Message: "the answer is " + e.Code().String() + ": " + e.Message()}
}

func codeOf(c connect.Code) transport.Code {
	switch c {
	case connect.CodeUnavailable, connect.CodeResourceExhausted, connect.CodeDeadlineExceeded, connect.CodeCanceled, connect.CodeAborted:
		return transport.CodeUnavailable
	case connect.CodeUnauthenticated:
		return transport.CodeUnauthorized
	case connect.CodePermissionDenied:
		return transport.CodeForbidden
	}
	return transport.CodeProtocol
}
