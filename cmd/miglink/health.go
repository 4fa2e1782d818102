package main

import (
	"fmt"
	"net/http"
	"sync"

	"github.com/miglink/miglink/controller"
	"github.com/miglink/miglink/controller/admin"
	"github.com/miglink/miglink/internal/httplink"
	"github.com/miglink/miglink/transport"
)

// phase is what a controller is doing as a whole.
type phase string

const (
	starting phase = "starting"
	standby  phase = "standby"
	serving  phase = "serving"
	draining phase = "draining"
)

// health is what a controller says of itself to whoever looks after it. It answers from the start of the process, also
// before there is a ledger.
type health struct {
	parts []string // the brokers, and the issuer of tokens, by name

	mu    sync.Mutex
	phase phase
	ctl   *controller.Controller  // nil before there is a ledger
	ready map[string]func() error // by part; of those that were tried
}

// newHealth returns that of a controller that is starting, and is to have these parts besides its ledger.
func newHealth(parts []string) *health {
	return &health{parts: parts, phase: starting, ready: map[string]func() error{}}
}

func (h *health) is(p phase) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.phase = p
}

func (h *health) has(ctl *controller.Controller) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ctl = ctl
}

// at notes how a part is asked for.
func (h *health) at(name string, ready func() error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ready[name] = ready
}

// ledger says why the ledger takes nothing now.
func (h *health) ledger() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctl == nil {
		return fmt.Errorf("%s: it is not open", h.phase)
	}
	return h.ctl.Ready()
}

// part says why no agent comes by way of a broker, or with a token of the issuer.
func (h *health) part(name string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if ready := h.ready[name]; ready != nil {
		return ready()
	}
	return fmt.Errorf("%s: no connection was tried yet", h.phase)
}

// summary is one word for all, and whether a load balancer should send anything here. A broker that is away must not take
// out a controller that serves all others by other ways: with the broker every controller would go.
func (h *health) summary() (word string, ok bool) {
	h.mu.Lock()
	now := h.phase
	h.mu.Unlock()
	if now != serving {
		return string(now), false
	}
	if h.ledger() != nil {
		return "ledger", false
	}
	for _, name := range h.parts {
		if h.part(name) != nil {
			return "degraded", true
		}
	}
	return "ok", true
}

// routes are the endpoints, by path. Asked says that details are for operators only, who show credentials.
func (h *health) routes(operators admin.Authenticator, asked bool, hosts []string) map[string]http.Handler {
	alive := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	verbose := httplink.Guard{Asked: asked, Hosts: hosts}.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked {
			if err := admin.CheckReader(operators, r); err != nil {
				httplink.WriteError(w, err)
				return
			}
		}
		h.verbose(w)
	}))
	routes := map[string]http.Handler{
		"/livez": alive, "/healthz": alive, // the latter as it is named elsewhere
		"/readyz": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Has("verbose") {
				verbose.ServeHTTP(w, r)
				return
			}
			word, ok := h.summary()
			answerWord(w, word, ok)
		}),
		"/readyz/ledger": part(h.ledger),
	}
	for _, name := range h.parts {
		routes["/readyz/"+name] = part(func() error { return h.part(name) })
	}
	return routes
}

// part answers for one part alone, and without its reason: that may name what a stranger need not know.
func part(ready func() error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if ready() != nil {
			answerWord(w, "away", false)
		} else {
			answerWord(w, "ok", true)
		}
	})
}

func answerWord(w http.ResponseWriter, word string, ok bool) {
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	fmt.Fprintln(w, word)
}

// verbose answers with all parts, and why they are not ready.
func (h *health) verbose(w http.ResponseWriter) {
	word, ok := h.summary()
	line := func(name string, err error) string {
		if err == nil {
			return name + ": ok\n"
		}
		return fmt.Sprintf("%s: %q\n", name, err.Error()) // quoted: a peer may have a part in it
	}
	text := line("ledger", h.ledger())
	for _, name := range h.parts {
		text += line(name, h.part(name))
	}
	answerWord(w, text+word, ok)
}

// notYet is what agents and operators are told before there is a ledger.
func (h *health) notYet() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return transport.Errorf(transport.CodeUnavailable, "this controller does not serve yet: %s", h.phase)
}
