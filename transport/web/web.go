// Package web serves every HTTP transport on one handler: WebSocket, SSE, long poll, and the POSTs of
// acks and events.
//
//	mux.Handle("/api/v1/", http.StripPrefix("/api/v1", web.Handler(c, web.Options{})))
//
// # Browsers
//
// No page in a browser may use the handler, whoever looks at it: requests of another origin are refused (by Origin and
// Sec-Fetch-Site), GETs included, since a GET takes the place of a VM's link. Where Options.Authenticator is nil requests
// have to be for an IP address, for localhost, or for one of Options.Hosts, so that a page cannot have its own name lead
// to the controller (DNS rebinding). The handlers of packages ws, sse, longpoll, uplink, grpc and controller/admin do the
// same where they are mounted by themselves.
//
// # Time and memory
//
// A body has 30 s to arrive, on HTTP/1.1 and HTTP/2, whatever the server's own limits are. It is read once the VM is known
// and one of its links is free (controller.Access): so much may be on its way for one VM. What is left of the body of a
// request that was refused, or answered without it, has a second; then its connection ends. A GET has no body. The
// server's ResponseWriter, or what wraps it, has to support http.ResponseController for that.
//
// NewServer bounds the rest: what a connection may cost before anybody is asked for credentials.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/httplink"
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
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
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
	var mux httplink.Mux
	// One guard stands before all of them, in place of one before each.
	handle := func(pattern string, h http.Handler) { mux.Handle(pattern, httplink.Inner(h)) }
	handle("GET /vms/{vm_id}/commands/ws", ws.Handler(t, ws.HandlerOptions{Authenticator: o.Authenticator, Keepalive: o.Keepalive, Context: o.Context, Log: o.Log}))
	handle("GET /vms/{vm_id}/commands/stream", sse.Handler(t, sse.HandlerOptions{Authenticator: o.Authenticator, Keepalive: o.Keepalive, Context: o.Context, Log: o.Log}))
	poll := longpoll.Handler(t, longpoll.HandlerOptions{Authenticator: o.Authenticator, Context: o.Context, Log: o.Log})
	handle("GET /vms/{vm_id}/commands", poll)
	handle("POST /vms/{vm_id}/commands", poll)
	up := uplink.Handler(t, uplink.HandlerOptions{Authenticator: o.Authenticator, Log: o.Log})
	handle("POST /vms/{vm_id}/commands/ack", up)
	handle("POST /vms/{vm_id}/events", up)
	handle("POST /vms/{vm_id}/heartbeat", up)
	return mux.Handler(httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true})
}
