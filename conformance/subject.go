package conformance

import (
	"context"
	"errors"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miglink/miglink/ledger"
	"github.com/miglink/miglink/transport"
	"github.com/miglink/miglink/transport/fault"
	"github.com/miglink/miglink/transport/web"
)

// Subject is a transport to be proven.
type Subject struct {
	Name string

	// Open puts the transport in front of the controller and returns the client half. What it
	// starts ends with env: use ServeHTTP, Proxy and Cleanup. The server half is to let those pass that
	// Env.Authenticator does, and the client half to show Env.Token.
	Open func(env *Env, controller transport.Transport) (transport.Transport, error)

	// Ledger makes the controller's ledger, which the scenario closes. Default: one in memory.
	Ledger func() (ledger.Ledger, error)

	// Facts exclude the scenarios that make no sense on this transport.
	Facts Facts
}

// Facts are what a transport declares of itself.
type Facts struct {
	NoWire bool // no bytes between the halves: faults are injected at the link instead
	NoHTTP bool // the server half is not served by Env.ServeHTTP
	NoAuth bool // nobody is asked for credentials
	Frames bool // the server half takes frames, as PROTOCOL.md has them: Open calls Env.SpeakFrames
	Polls  bool // a link of the client half is a link of the controller only while it asks

	// Untold means that a hello that is refused is dropped without a word, so that its agent gives up by itself: the
	// scenarios that want to hear the code prove instead that nothing was opened, and the report shows it. Open calls
	// Env.CountOpened.
	Untold bool

	// DeadAfter is the time of silence after which either end takes the other for dead.
	DeadAfter time.Duration

	// DialsPerAttempt is how often one attempt of an agent reaches the controller, where that is
	// more than once: a Fallback tries several ways.
	DialsPerAttempt int
}

// Env is the surroundings of one scenario: the network, and what is to be cleaned up.
type Env struct {
	ctx     context.Context
	seed    uint64
	cleanup []func()
	proxies []*fault.Proxy
	urls    []string // of ServeHTTP, without the proxy

	frames func(vm string) (Frames, error) // of SpeakFrames
	opened func() (int, error)             // of CountOpened

	credentials *credentials

	between atomic.Pointer[func(http.ResponseWriter, *http.Request) bool]
}

// CountOpened is for Open of a subject with the fact Untold: count says how much there is that was made for links.
func (e *Env) CountOpened(count func() (int, error)) { e.opened = count }

// Context ends with the scenario.
func (e *Env) Context() context.Context { return e.ctx }

// Cleanup has f called at the end of the scenario, the last first.
func (e *Env) Cleanup(f func()) { e.cleanup = append(e.cleanup, f) }

// ServeHTTP serves h on a real socket, behind a proxy whose faults the scenarios control, and returns
// the URL of the proxy. A handler of package web is to be reached at its root, which is /api/v1 here;
// requests of other paths reach h as they are.
func (e *Env) ServeHTTP(h http.Handler) (url string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // loopback
	if err != nil {
		return "", err
	}
	requests, stop := context.WithCancel(context.Background())
	s := web.NewServer(requests, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := e.between.Load(); f != nil && (*f)(w, r) {
			return
		}
		if strings.HasPrefix(r.URL.Path, "/api/v1/") {
			http.StripPrefix("/api/v1", h).ServeHTTP(w, r)
			return
		}
		h.ServeHTTP(w, r)
	}), web.ServerOptions{})
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = s.Serve(l) // ends with Close
	}()
	e.Cleanup(func() {
		stop()
		s.Close()
		<-served
	})
	e.urls = append(e.urls, "http://"+l.Addr().String()+"/api/v1")
	addr, err := e.Proxy(l.Addr().String())
	return "http://" + addr, err
}

// HTTP is the URL of the server half that is nearest the controller, past the proxy, with /api/v1: for who speaks
// to it by hand. There is one after ServeHTTP.
func (e *Env) HTTP() string { return e.urls[0] }

// Proxy puts a proxy whose faults the scenarios control in front of addr, for transports that are not
// HTTP.
func (e *Env) Proxy(addr string) (string, error) {
	p, err := fault.NewProxy(addr, e.seed)
	if err != nil {
		return "", err
	}
	e.proxies = append(e.proxies, p)
	e.Cleanup(func() { p.Close() })
	return p.Addr(), nil
}

func (e *Env) close() {
	for _, f := range slices.Backward(e.cleanup) {
		f()
	}
}

// Scenario is one promise, put to the test.
type Scenario struct {
	Number            int    // of the catalogue; others refer to it
	Name              string // short, with dashes
	Given, When, Then string

	NeedsWire bool // the fault is one of bytes
	NeedsHTTP bool // speaks HTTP by itself
	NeedsAuth bool // shows credentials

	NeedsFrames bool // speaks in frames by itself
	NeedsBytes  bool // speaks HTTP or in frames by itself

	Run func(w *World)
}

// excluded says why a scenario does not apply to a subject, or nothing.
func (s Scenario) excluded(f Facts) string {
	switch {
	case s.NeedsWire && f.NoWire:
		return "no wire"
	case s.NeedsHTTP && (f.NoHTTP || f.NoWire):
		return "no HTTP"
	case s.NeedsAuth && f.NoAuth:
		return "no credentials"
	case s.NeedsFrames && !f.Frames:
		return "no frames"
	case s.NeedsBytes && !f.Frames && (f.NoHTTP || f.NoWire):
		return "no bytes"
	}
	return ""
}

// Scenarios returns the catalogue, by number.
func Scenarios() []Scenario {
	all := slices.Concat(delivery, acks, ordering, reconnect, flow, lifecycle, identity, instances, hostile, malformed, ends, httpScenarios, unreadable, gone, between, notRun, runs, arrival, ids)
	slices.SortStableFunc(all, func(a, b Scenario) int { return a.Number - b.Number })
	return all
}

// Select returns the scenarios whose number or name is listed; all where nothing is.
func Select(names []string) ([]Scenario, error) {
	all := Scenarios()
	if len(names) == 0 {
		return all, nil
	}
	var out []Scenario
	for _, name := range names {
		i := slices.IndexFunc(all, func(s Scenario) bool {
			return s.title() == name || s.Name == name || strings.HasPrefix(s.title(), name+" ")
		})
		if i < 0 {
			return nil, errors.New("there is no scenario " + name)
		}
		out = append(out, all[i])
	}
	return out, nil
}

// patience bounds each wait for something that must happen; it is no measure of speed.
const patience = 20 * time.Second
