package httplink

import (
	"net/http"
	"slices"
	"strings"

	"github.com/miglink/miglink/transport"
)

// nothing is the pattern of what is not served.
const nothing = "/"

// Mux is an http.ServeMux that knows what it serves. Its zero value serves nothing.
type Mux struct {
	mux      http.ServeMux
	patterns []string
}

// Handle serves a pattern, as in http.ServeMux.
func (m *Mux) Handle(pattern string, h http.Handler) {
	m.mux.Handle(pattern, h)
	m.patterns = append(m.patterns, pattern)
}

// Mount serves everything that h does below a prefix without a slash at its end.
func (m *Mux) Mount(prefix string, h http.Handler) {
	m.mux.Handle(prefix+"/", http.StripPrefix(prefix, h))
	for _, p := range Patterns(h) {
		method, path, _ := strings.Cut(p, " ")
		m.patterns = append(m.patterns, method+" "+prefix+path)
	}
}

// Handler returns the mux behind a guard. What it does not serve it answers with a problem document. It is called once,
// when all is added.
func (m *Mux) Handler(g Guard) http.Handler {
	m.mux.HandleFunc(nothing, func(w http.ResponseWriter, r *http.Request) { unserved(w, &m.mux, r) })
	h := g.Handler(&m.mux).(*guarded)
	h.patterns = m.patterns
	return h
}

// Patterns are what a handler of a Mux serves, as patterns of an http.ServeMux; nil for other handlers.
func Patterns(h http.Handler) []string {
	if g, ok := h.(*guarded); ok {
		return slices.Clone(g.patterns)
	}
	return nil
}

// unserved tells a wrong method from a wrong path.
func unserved(w http.ResponseWriter, mux *http.ServeMux, r *http.Request) {
	var wanted []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != nothing {
			wanted = append(wanted, method)
		}
	}
	p := Problem{Status: http.StatusNotFound, Code: transport.CodeInvalid, Detail: "there is no such endpoint"}
	if wanted != nil {
		w.Header().Set("Allow", strings.Join(wanted, ", "))
		p.Status, p.Detail = http.StatusMethodNotAllowed, "this endpoint wants "+strings.Join(wanted, " or ")
	}
	WriteProblem(w, p)
}
