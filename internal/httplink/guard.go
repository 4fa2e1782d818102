package httplink

import (
	"net/http"
	"time"
)

// Guard is what every HTTP handler of ours stands behind, wherever it is mounted: it refuses what a page in a browser
// sends, and bounds the time that a body may take. Both come before the request is routed, or anything of it is believed.
type Guard struct {
	// Asked says that whoever comes is asked for credentials. Where nobody is, only requests for hosts that no stranger's
	// page can be at are served; see Hosts.
	Asked bool
	// Hosts are names that requests may be for besides IP addresses and localhost, without a port; "*" is any.
	Hosts []string
	// Agents says that a GET has an effect: it takes the place of a VM's link.
	Agents bool
	// Stream says that over HTTP/2 a body may go on for as long as its request, as gRPC's do.
	Stream bool
	// Refuse answers what is refused. Default: WriteError.
	Refuse func(w http.ResponseWriter, r *http.Request, err error)
}

// Handler returns h behind the guard.
func (g Guard) Handler(h http.Handler) http.Handler {
	if g.Refuse == nil {
		g.Refuse = func(w http.ResponseWriter, _ *http.Request, err error) { WriteError(w, err) }
	}
	return &guarded{guard: g, inner: h, patterns: Patterns(h)}
}

// guarded is a handler behind its guard.
type guarded struct {
	guard    Guard
	inner    http.Handler
	patterns []string
}

// Inner is a handler without its guard, for who puts several behind one guard.
func Inner(h http.Handler) http.Handler {
	if g, ok := h.(*guarded); ok {
		return g.inner
	}
	return h
}

// ServeHTTP implements http.Handler.
func (g *guarded) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r, finish := g.receive(w, r)
	defer finish()
	if err := g.guard.check(w, r); err != nil {
		g.guard.Refuse(w, r, err)
		return
	}
	g.inner.ServeHTTP(w, r)
}

// check says why a request is refused, or nil.
func (g *Guard) check(w http.ResponseWriter, r *http.Request) error {
	if err := g.checkOrigin(r); err != nil {
		return err
	}
	if err := g.checkHost(r.Host); err != nil {
		return err
	}
	return checkNoBody(w, r)
}

// receive bounds the time that a request may take. What it returns is to be called when the request is answered.
func (g *guarded) receive(w http.ResponseWriter, r *http.Request) (*http.Request, func()) {
	control := http.NewResponseController(w)
	if r.ProtoMajor >= 2 {
		// Each stream has deadlines of its own, and none but the handler waits for its body.
		if r.ContentLength != 0 && !g.guard.Stream {
			_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // not all can
		}
		return r, func() { _ = control.SetWriteDeadline(time.Now().Add(answerTimeout)) }
	}
	// A handler that takes longer sets a deadline before each write. This one is for those who only write a few bytes, to
	// a peer that sends requests and does not read the answers.
	_ = control.SetWriteDeadline(time.Now().Add(answerTimeout))
	if r.ContentLength == 0 {
		return r, func() {}
	}
	_ = control.SetReadDeadline(time.Now().Add(bodyTimeout)) // net/http takes it away at the end of the body
	r, b := follow(r)
	b.closeUnlessRead(w, r)
	return r, func() { b.leave(w) }
}
