// Package web serves every HTTP transport on one handler: WebSocket, SSE, long poll, and the POSTs of
// acks and events.
//
//	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
package web

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/secure"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/longpoll"
	"github.com/miglink/miglink/transport/sse"
	"github.com/miglink/miglink/transport/uplink"
	"github.com/miglink/miglink/transport/ws"
)

// Options are optional.
type Options struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Keepalive is the longest silence of a WebSocket or a stream; see packages ws and sse. Default:
	// 15 s.
	Keepalive time.Duration
	// Context ends with it what is held over HTTP/1.1: WebSockets, streams and polls. Other requests end with their
	// server's. Default: none.
	Context context.Context //nolint:containedctx // see ws.HandlerOptions
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler serves t on patterns that begin with /vms/{vm_id}/; mount it under any prefix with
// http.StripPrefix. What it does not serve is answered with a problem document.
func Handler(t transport.Transport, o Options) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /vms/{vm_id}/commands/ws", ws.Handler(t, ws.HandlerOptions{Authenticator: o.Authenticator, Keepalive: o.Keepalive, Context: o.Context, Log: o.Log}))
	mux.Handle("GET /vms/{vm_id}/commands/stream", sse.Handler(t, sse.HandlerOptions{Authenticator: o.Authenticator, Keepalive: o.Keepalive, Context: o.Context, Log: o.Log}))
	poll := longpoll.Handler(t, longpoll.HandlerOptions{Authenticator: o.Authenticator, Context: o.Context, Log: o.Log})
	mux.Handle("GET /vms/{vm_id}/commands", poll)
	mux.Handle("POST /vms/{vm_id}/commands", poll)
	up := uplink.Handler(t, uplink.HandlerOptions{Authenticator: o.Authenticator, Log: o.Log})
	mux.Handle("POST /vms/{vm_id}/commands/ack", up)
	mux.Handle("POST /vms/{vm_id}/events", up)
	mux.Handle("POST /vms/{vm_id}/heartbeat", up)
	return httplink.Serve(mux)
}

// NewServer returns a server for h that is safe to put on a public address: bounded where a client
// could stall it, unbounded where a stream must live. It speaks HTTP/1.1 and HTTP/2, also without
// TLS; with it, TLS 1.3, unless its TLSConfig is given another MinVersion. Requests end with ctx.
func NewServer(ctx context.Context, h http.Handler) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		Protocols:         protocols,
		TLSConfig:         secure.TLS(nil),
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
}
