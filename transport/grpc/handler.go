package grpc

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
	pb "github.com/miglink/miglink/transport/grpc/miglinkv1"
	"github.com/miglink/miglink/transport/grpc/miglinkv1/miglinkv1connect"
)

const writeTimeout = 15 * time.Second

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
	// Keepalive is how long a peer may be silent before it is asked whether it lives; after twice
	// that it is dead. Default: 15 s.
	Keepalive time.Duration
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves the service at the path that is returned, for a mux; each stream is a link of t. It
// needs a server that speaks HTTP/2, as web.NewServer does also without TLS.
func Handler(t transport.Transport, o HandlerOptions) (path string, h http.Handler) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &service{t: t, keepalive: o.Keepalive, log: peerlog.New(o.Log.With("component", "grpc"))}
	s.door = door.New(o.Authenticator, s.log)
	path, inner := miglinkv1connect.NewCommandLinkHandler(s, connect.WithReadMaxBytes(maxMessage), connect.WithSendMaxBytes(maxMessage),
		connect.WithCodec(codec{}), connect.WithCompression("gzip", nil, nil)) // what is small may be large once unpacked
	// A link lives as long as its stream. Its hello, and silence, have limits in framed.
	guard := httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true, Stream: true, Refuse: refuse}
	return path, guard.Handler(onlyGRPC(func(w http.ResponseWriter, r *http.Request) {
		c := &call{request: r, deadline: http.NewResponseController(w), body: newEnvelopes(r.Body)}
		bounded := r.WithContext(context.WithValue(r.Context(), callKey{}, c))
		bounded.Body = c.body
		inner.ServeHTTP(w, bounded)
	}))
}

// call is the HTTP request of a stream, which connect does not hand on.
type call struct {
	request  *http.Request
	deadline *http.ResponseController
	body     *envelopes
}

type callKey struct{}

type service struct {
	t         transport.Transport
	door      door.Door
	keepalive time.Duration
	log       *peerlog.Log
}

// Attach implements the generated interface.
func (s *service) Attach(ctx context.Context, stream *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]) error {
	c := ctx.Value(callKey{}).(*call)
	var vm string // once it has shown that it is
	err := framed.Serve(ctx, &serverPipe{stream: stream, call: c}, s.t, framed.ServeOptions{
		Name: "grpc", Keepalive: s.keepalive,
		Authenticate: func(_ context.Context, name, _ string) (transport.Grant, error) {
			grant, err := s.door.Enter(c.request.Context(), name, httplink.Credentials(c.request))
			if err == nil {
				vm = name
			}
			return grant, err
		},
	})
	s.log.Ended(ctx, vm, err)
	var said *transport.Error
	if !errors.As(err, &said) {
		return nil
	}
	status := connect.NewError(statusOf(said.Code), errors.New(string(said.Code)))
	status.Meta().Set(codeHeader, string(said.Code))
	return status
}

// statusOf is for those who only know gRPC; the close frame before it says more.
func statusOf(c transport.Code) connect.Code {
	switch c {
	case transport.CodeUnauthorized, transport.CodeCredentialsExpired:
		return connect.CodeUnauthenticated
	case transport.CodeRevoked, transport.CodeForbidden:
		return connect.CodePermissionDenied
	case transport.CodeProtocol, transport.CodeInvalid, transport.CodeTooLarge:
		return connect.CodeInvalidArgument
	case transport.CodeReplaced, transport.CodeSuperseded:
		return connect.CodeAborted
	case transport.CodeRateLimited:
		return connect.CodeResourceExhausted
	case transport.CodeInternal:
		return connect.CodeInternal
	}
	return connect.CodeUnavailable
}

// serverPipe carries frames over one stream.
type serverPipe struct {
	*call  // the methods of its deadline fail where the server cannot
	stream *connect.BidiStream[pb.AgentFrame, pb.ControllerFrame]

	mu      sync.Mutex
	sending bool
	closed  bool
}

// past is a deadline that ends what goes on.
var past = time.Unix(1, 0)

func (p *serverPipe) Send(f *framed.Frame) error {
	p.mu.Lock()
	if p.closed {
		p.mu.Unlock()
		return net.ErrClosed
	}
	p.sending = true
	_ = p.deadline.SetWriteDeadline(time.Now().Add(writeTimeout))
	p.mu.Unlock()
	err := p.stream.Send(toControllerFrame(f))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sending = false
	if !p.closed {
		_ = p.deadline.SetWriteDeadline(time.Time{}) // or it would end an idle stream
	}
	return err
}

func (p *serverPipe) Recv() (*framed.Frame, error) {
	m, err := p.stream.Receive()
	var said *transport.Error
	switch {
	case err == nil:
		return fromAgentFrame(m), nil
	case errors.As(err, &said):
		return nil, said
	case errors.Is(err, errTooMany):
		return nil, transport.Errorf(transport.CodeTooLarge, "%s", errTooMany)
	case errors.Is(err, io.EOF):
		return nil, errors.New("grpc: the agent ended the stream")
	case connect.CodeOf(err) == connect.CodeInvalidArgument:
		return nil, transport.Errorf(transport.CodeProtocol, "a message does not decode")
	}
	return nil, err
}

// Trust implements framed.Guarded.
func (p *serverPipe) Trust() error {
	p.body.most = maxMessage
	return nil
}

// Close leaves the stream to end with the handler, so that what was sent arrives.
func (p *serverPipe) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	_ = p.deadline.SetReadDeadline(past)
	if p.sending {
		_ = p.deadline.SetWriteDeadline(past)
	}
	return nil
}
