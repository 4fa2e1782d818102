package grpc

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync/atomic"

	"connectrpc.com/connect"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/printable"
	"github.com/miglink/miglink/transport"
)

// codeHeader goes with a status of ours, which a proxy may answer, too. It is a header where there are nothing but
// trailers, and else a trailer.
const codeHeader = "Miglink-Error"

// only is a client's way to a server, from which only gRPC comes back.
type only struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (o only) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := o.RoundTripper.RoundTrip(r)
	if err != nil || resp.StatusCode == http.StatusOK && isGRPC(resp.Header.Get("Content-Type")) {
		return resp, err
	}
	defer httplink.Drain(resp.Body)
	return nil, httplink.ReadError(resp)
}

// said is said, but for a peer that does not speak HTTP/2.
func (p *clientPipe) said(err error) error {
	p.mu.Lock()
	plain, closed := p.plain, p.closed
	p.mu.Unlock()
	if plain != nil && !closed && plain.silent() {
		return fmt.Errorf("%w (%w)", errNoHTTP2, said(err))
	}
	return said(err)
}

// said tells what the controller has said in place of a stream from what something in between has, and from what was
// inferred.
func said(err error) error {
	var e *connect.Error
	if !errors.As(err, &e) {
		return fmt.Errorf("grpc: %w", err)
	}
	if !connect.IsWireError(err) {
		return fmt.Errorf("grpc: %w", httplink.Cause(e.Unwrap()))
	}
	if code := e.Meta().Get(codeHeader); code != "" {
		return transport.PeerError(transport.Code(code), e.Message(), 0)
	}
	return &transport.ForeignError{Message: fmt.Sprintf("something between here and the controller, or another server at its address, ended the stream as %s: %s",
		strings.ToUpper(e.Code().String()), printable.Cut(e.Message(), maxShown))}
}

var errNoHTTP2 = errors.New("grpc: nothing in HTTP/2 came from the controller's address, and gRPC needs it all the way: serve it by " +
	"web.NewServer, or by an http.Server whose Protocols have SetUnencryptedHTTP2, and have a proxy pass HTTP/2 on; or use another transport")

// plainConn is a connection without TLS, where nothing has settled what the peer speaks.
type plainConn struct {
	net.Conn
	heard atomic.Int32 // what has come first
}

const (
	heardNothing = iota
	heardHTTP1
	heardHTTP2
)

// Read implements net.Conn.
func (c *plainConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if n > 0 && c.heard.Load() == heardNothing {
		if b[0] == 'H' { // HTTP/1.1 400; a frame begins with its length, and 4 MiB come in none
			c.heard.Store(heardHTTP1)
		} else {
			c.heard.Store(heardHTTP2)
		}
	}
	return n, err
}

// silent says whether the peer has not spoken HTTP/2.
func (c *plainConn) silent() bool { return c.heard.Load() != heardHTTP2 }

// maxShown bounds what an error repeats of a status that is not ours, in bytes.
const maxShown = 200
