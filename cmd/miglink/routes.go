package main

import (
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/grpc"
	"github.com/miglink/miglink/transport/web"
)

// handler is everything that a controller serves over HTTP. What is added here is listed by httplink.Patterns, and tests
// have each of it bear what a stranger may send.
func (c *controllerCmd) handler(ctl *controller.Controller, vms transport.Authenticator, operators admin.Authenticator, audit admin.Audit, health map[string]http.Handler, log *slog.Logger) http.Handler {
	var mux httplink.Mux
	mux.Mount("/api/v1", web.Handler(ctl, web.Options{Authenticator: vms, Hosts: c.AllowHost, Keepalive: c.Keepalive, Log: log}))
	mux.Handle(grpc.Handler(ctl, grpc.HandlerOptions{Authenticator: vms, Hosts: c.AllowHost, Keepalive: c.Keepalive, Log: log}))
	if c.GRPCReflection {
		for path, h := range grpc.Reflection() {
			mux.Handle(path, h)
		}
	}
	mux.Mount("/admin/v1", admin.Handler(ctl, admin.Options{Authenticator: operators, Hosts: c.AllowHost, Audit: audit, Log: log}))
	for path, h := range health {
		mux.Handle("GET "+path, h)
	}
	return mux.Handler(rootGuard)
}

// rootGuard is for what is served right at the root, and for paths that are not served. It wants no names: a load balancer
// may look after /livez by any. A body of gRPC may go on, which its own guard lets it.
var rootGuard = httplink.Guard{Asked: true, Stream: true}

// front is what a controller serves: first its health alone, and everything once it has its ledger.
type front struct{ now atomic.Pointer[http.Handler] }

// newFront returns one that answers everything else with what notYet says.
func newFront(health map[string]http.Handler, notYet func() error) *front {
	f := &front{}
	f.set(rootGuard.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := health[r.URL.Path]; h != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			h.ServeHTTP(w, r)
			return
		}
		httplink.WriteError(w, notYet())
	})))
	return f
}

func (f *front) set(h http.Handler) { f.now.Store(&h) }

// ServeHTTP implements http.Handler.
func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) { (*f.now.Load()).ServeHTTP(w, r) }

// checkHosts refuses what no Host header can match.
func (c *controllerCmd) checkHosts() error {
	for _, name := range c.AllowHost {
		if name == "" || strings.ContainsAny(name, "/:@ ") || name != "*" && strings.Contains(name, "*") {
			return usage("--allow-host %q is not a name like controller.internal, without scheme and port, nor *", name)
		}
	}
	return nil
}
