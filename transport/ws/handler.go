package ws

import (
	"context"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gorilla/websocket"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/framed"
)

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
	// Context ends all links with it. A request's own context, and what net/http keeps for a request,
	// go when the connection has become a link. Default: none.
	Context context.Context //nolint:containedctx // it is the server's, which has no method of its own
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET …/vms/{vm_id}/commands/ws, where vm_id is the request's path value. Each
// connection is a link of t.
//
// http.Server.Shutdown does not know of these connections: end the links at t, as the controller's
// own Shutdown does. Requests of another origin, as browsers send them, are refused.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.Keepalive == 0 {
		o.Keepalive = framed.DefaultKeepalive
	}
	h := &handler{t: t, ctx: o.Context, keepalive: o.Keepalive, log: peerlog.New(o.Log.With("component", "ws"))}
	h.door = door.New(o.Authenticator, h.log)
	h.welcome = http.Header{keepaliveHeader: {strconv.FormatFloat(o.Keepalive.Seconds(), 'g', -1, 64)}}
	h.upgrader = websocket.Upgrader{
		HandshakeTimeout: writeTimeout,
		WriteBufferSize:  writeBuffer,
		WriteBufferPool:  &writeBuffers,
		Subprotocols:     []string{greeted, subprotocol},
		CheckOrigin:      sameOrigin,
		Error: func(w http.ResponseWriter, _ *http.Request, status int, reason error) {
			code := transport.CodeProtocol
			if status == http.StatusForbidden {
				code = transport.CodeForbidden
			}
			httplink.WriteError(w, transport.Errorf(code, "%s", reason))
		},
	}
	return httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true}.Handler(http.HandlerFunc(h.serve))
}

type handler struct {
	t         transport.Transport
	ctx       context.Context
	door      door.Door
	keepalive time.Duration
	log       *peerlog.Log
	upgrader  websocket.Upgrader
	welcome   http.Header
}

// errNoUpgrade is for agents behind a proxy, which have asked for a WebSocket.
var errNoUpgrade = transport.Errorf(transport.CodeProtocol, "the request came without the headers \"Connection: Upgrade\" and \"Upgrade: websocket\": a proxy has dropped them, if they were sent; have it pass them on, or use sse or longpoll")

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	vm, err := httplink.VM(r)
	var grant transport.Grant
	if err == nil {
		grant, err = h.door.Enter(r.Context(), vm, httplink.Credentials(r))
	}
	if err == nil && !websocket.IsWebSocketUpgrade(r) {
		err = errNoUpgrade
	}
	offered := websocket.Subprotocols(r)
	if err == nil && !slices.Contains(offered, subprotocol) && !slices.Contains(offered, greeted) {
		err = transport.Errorf(transport.CodeProtocol, "the subprotocol is neither %s nor %s", greeted, subprotocol)
	}
	if err == nil && r.ProtoMajor == 1 {
		err = httplink.CanHijack(w)
		h.hides(r, vm, err)
	}
	switch {
	case err != nil:
		httplink.WriteError(w, err)
	case slices.Contains(offered, greeted) && upgradable(r): // else Upgrade says what is wrong
		h.attach(w, r, grant)
	default:
		h.accept(w, r, vm, grant)
	}
}

// hides logs why no request can become a WebSocket, which is for the controller's team to mend.
func (h *handler) hides(r *http.Request, vm string, err error) {
	if err != nil {
		h.log.Write(r.Context(), slog.LevelError, "no WebSocket can be opened", vm, slog.Any("error", err))
	}
}

// attach takes the request for the hello, and answers with the welcome.
func (h *handler) attach(w http.ResponseWriter, r *http.Request, grant transport.Grant) {
	hello, err := httplink.Hello(r)
	var link transport.Link
	if err == nil {
		hello.Uplink = r.URL.Query().Get("uplink") == "true"
		hello.Alive = 0 // the ends of a WebSocket notice that the other is gone
		hello.AddHop("ws")
		link, err = h.t.Dial(r.Context(), hello)
	}
	if err != nil {
		httplink.WriteError(w, err)
		return
	}
	p, err := h.upgrade(w, r, h.welcome)
	if err != nil {
		link.Close()
		return // answered by Upgrader.Error
	}
	p.most = maxMessage // the request was the hello
	session := framed.Attach(h.ctx, p, link, grant, framed.ServeOptions{Keepalive: h.keepalive, Prompt: true})
	h.start(session, hello.VM)
}

// accept waits for the hello. Whoever ends the links of t waits for what goes on after that.
func (h *handler) accept(w http.ResponseWriter, r *http.Request, vm string, grant transport.Grant) {
	p, err := h.upgrade(w, r, nil)
	if err != nil {
		return // answered by Upgrader.Error
	}
	session, err := framed.Accept(h.ctx, p, h.t, framed.ServeOptions{
		VM: vm, Name: "ws", Keepalive: h.keepalive, Prompt: true,
		Authenticate: func(context.Context, string, string) (transport.Grant, error) { return grant, nil },
	})
	if err != nil {
		h.log.Ended(h.ctx, vm, err)
		return
	}
	h.start(session, vm)
}

func (h *handler) start(session *framed.Session, vm string) {
	vm = strings.Clone(vm) // it is part of the request, which goes
	session.Start(func(err error) { h.log.Ended(h.ctx, vm, err) })
}

// upgrade makes the connection a pipe's, which takes no more than a hello until the peer is trusted.
func (h *handler) upgrade(w http.ResponseWriter, r *http.Request, header http.Header) (*serverPipe, error) {
	up := &upgrading{ResponseWriter: w}
	conn, err := h.upgrader.Upgrade(up, r, header)
	if err != nil {
		return nil, err
	}
	return newServerPipe(conn, up.reader), nil
}

// upgradable says whether Upgrade will find nothing wrong: a request that is the hello takes the place of the VM's link
// before that. What is in between may pass on half of it.
func upgradable(r *http.Request) bool {
	return websocket.IsWebSocketUpgrade(r) && r.ProtoMajor == 1 && r.Method == http.MethodGet &&
		r.Header.Get("Sec-WebSocket-Version") == "13" && r.Header.Get("Sec-WebSocket-Key") != "" && sameOrigin(r)
}

// sameOrigin refuses what a browser sends for a page of elsewhere.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	u, err := url.Parse(origin)
	return origin == "" || err == nil && strings.EqualFold(u.Host, r.Host)
}
