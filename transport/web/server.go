package web

import (
	"context"
	"log"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/secure"
)

// What one connection may cost, whoever opens it. SECURITY.md has these.
const (
	headerTimeout = 10 * time.Second // for a TLS handshake, and for the header of a request
	idleTimeout   = 2 * time.Minute
	writeTimeout  = 15 * time.Second // of an HTTP/2 connection that takes no byte
	maxHeader     = 16 << 10         // bytes of a request's header

	// Many VMs behind one proxy share a connection of HTTP/2. A proxy opens another when it has this many streams.
	maxStreams = 100
	// What is sent on a stream and not read by its handler waits in memory. It may not fill its connection, or one slow
	// stream would hold up the others.
	streamBuffer     = 256 << 10
	connectionBuffer = 1 << 20
	// net/http makes room for a frame when its header comes, and keeps that as long as the connection: 1 MiB for nine
	// bytes, by default. This is the least that HTTP/2 allows, and what clients send.
	maxFrame = 16 << 10
)

// ServerOptions are optional.
type ServerOptions struct {
	// Log gets what the server says of connections: handshakes that fail, panics of handlers. A peer can cause such lines
	// at will, so only some of each kind are written, shortened, with the number of those that were left out (not_logged).
	// Default: none.
	Log *slog.Logger
}

// NewServer returns a server for h that is safe to put on a public address: bounded where a client
// could stall it, unbounded where a stream must live. It speaks HTTP/1.1 and HTTP/2, also without
// TLS; with it, TLS 1.3, unless its TLSConfig is given another MinVersion. Requests end with ctx.
//
// What h does besides is h's own: a handler that reads bodies sets a deadline for them, by http.ResponseController. A body
// that it leaves unread has to arrive within a second after it has returned, or the connection ends.
func NewServer(ctx context.Context, h http.Handler, o ServerOptions) *http.Server {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           httplink.Unread(h),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		Protocols:         protocols,
		HTTP2: &http.HTTP2Config{
			MaxConcurrentStreams:          maxStreams,
			MaxReadFrameSize:              maxFrame,
			MaxReceiveBufferPerStream:     streamBuffer,
			MaxReceiveBufferPerConnection: connectionBuffer,
			WriteByteTimeout:              writeTimeout,
		},
		TLSConfig:   secure.TLS(nil),
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(&errorLog{peerlog.New(o.Log.With("component", "http"))}, "", 0),
	}
}
