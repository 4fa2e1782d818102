package sse

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/miglink/miglink/internal/door"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/internal/peerlog"
	"github.com/miglink/miglink/internal/safely"
	"github.com/miglink/miglink/transport"
)

const (
	defaultKeepalive = 15 * time.Second // proxies cut streams off that are silent for 30 s and more
	writeTimeout     = 15 * time.Second
	maxAge           = 10 * time.Minute // of a stream whose client makes no promise to be heard of
)

// HandlerOptions are optional.
type HandlerOptions struct {
	// Authenticator lets a VM's requests pass, or says why not. Default: everybody passes.
	Authenticator transport.Authenticator
	// Hosts are names that requests may be for besides IP addresses and localhost, where there is no Authenticator: it
	// keeps pages away that a browser on a machine nearby shows. "*" is any. Default: none.
	Hosts []string
	// Keepalive is the longest silence of a stream. Default: 15 s.
	Keepalive time.Duration
	// Context ends all streams over HTTP/1.1 with it: a request's own context, and what net/http keeps for a
	// request, go when the connection has become a stream. Default: none.
	Context context.Context //nolint:containedctx // it is the server's, which has no method of its own
	// Log gets what clients are not told. Default: none.
	Log *slog.Logger
}

// Handler answers GET …/vms/{vm_id}/commands/stream, where vm_id is the request's path value. Each
// stream is a link of t.
//
// http.Server.Shutdown does not know of streams over HTTP/1.1: end the links at t, as the controller's own
// Shutdown does.
func Handler(t transport.Transport, o HandlerOptions) http.Handler {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Context == nil {
		o.Context = context.Background()
	}
	if o.Keepalive == 0 {
		o.Keepalive = defaultKeepalive
	}
	h := &handler{t: t, ctx: o.Context, keepalive: o.Keepalive, log: peerlog.New(o.Log.With("component", "sse"))}
	h.door = door.New(o.Authenticator, h.log)
	return httplink.Guard{Asked: o.Authenticator != nil, Hosts: o.Hosts, Agents: true}.Handler(http.HandlerFunc(h.serve))
}

type handler struct {
	t    transport.Transport
	ctx  context.Context
	door door.Door
	log  *peerlog.Log

	keepalive time.Duration
}

func (h *handler) serve(w http.ResponseWriter, r *http.Request) {
	if err := httplink.CanFlush(w); err != nil {
		h.log.Write(r.Context(), slog.LevelError, "no stream can be opened", "", slog.Any("error", err))
		httplink.WriteError(w, err)
		return
	}
	hello, grant, link, err := h.open(r)
	if err != nil {
		httplink.WriteError(w, err)
		return
	}
	header := w.Header()
	header.Set("Cache-Control", "no-store")
	header.Set("X-Accel-Buffering", "no")
	if conn, ok := takeOver(w, r); ok {
		ctx, cancel := limits(h.ctx, hello, grant)
		go h.run(ctx, cancel, hello.VM, link, conn) // its stack stays small
		return
	}
	shared, err := share(w, r)
	if err != nil {
		link.Close()
		httplink.WriteError(w, err)
		return
	}
	ctx, cancel := limits(r.Context(), hello, grant)
	h.run(ctx, cancel, hello.VM, link, shared)
}

func (h *handler) open(r *http.Request) (transport.Hello, transport.Grant, transport.Link, error) {
	hello, err := httplink.Hello(r)
	if err != nil {
		return hello, transport.Grant{}, nil, err
	}
	grant, err := h.door.Enter(r.Context(), hello.VM, httplink.Credentials(r))
	if err != nil {
		return hello, grant, nil, err
	}
	if id := r.Header.Get("Last-Event-ID"); id != "" && len(id) <= transport.MaxCursor {
		hello.After = transport.Cursor(id)
	}
	hello.Heard.NoCursor = hello.After == "" && hello.Instance == ""
	hello.AddHop("sse")
	link, err := h.t.Dial(r.Context(), hello)
	return hello, grant, link, err
}

// limits is a context that ends with the credentials, and in time where nobody promises to be heard of.
func limits(ctx context.Context, hello transport.Hello, grant transport.Grant) (context.Context, context.CancelFunc) {
	ctx, cancel := grant.Context(ctx)
	if hello.Alive > 0 {
		return ctx, cancel
	}
	age := maxAge/2 + rand.N(maxAge/2)
	ctx, young := context.WithTimeoutCause(ctx, age, transport.Errorf(transport.CodeMoved, "the stream has reached its age; open another"))
	return ctx, func() {
		young()
		cancel()
	}
}

// run carries a stream to its end.
func (h *handler) run(ctx context.Context, cancel context.CancelFunc, vm string, link transport.Link, r response) {
	defer cancel()
	defer link.Close()
	err := safely.Do(func() error { return serveStream(ctx, r, link, h.keepalive) })
	if errors.As(err, new(*safely.Panic)) {
		r.Close(true)
	}
	h.log.Ended(ctx, vm, err)
}
