package httplink

import (
	"net/http"
	"strings"

	"github.com/miglink/miglink/transport"
)

// Serve is mux, but that what it does not serve is answered with a problem document.
func Serve(mux *http.ServeMux) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := mux.Handler(r); pattern == "" {
			unserved(w, mux, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// unserved tells a wrong method from a wrong path.
func unserved(w http.ResponseWriter, mux *http.ServeMux, r *http.Request) {
	var wanted []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := r.Clone(r.Context())
		other.Method = method
		if _, pattern := mux.Handler(other); pattern != "" {
			wanted = append(wanted, method)
		}
	}
	p := Problem{Type: "about:blank", Status: http.StatusNotFound, Code: transport.CodeInvalid, Detail: "there is no such endpoint"}
	if wanted != nil {
		w.Header().Set("Allow", strings.Join(wanted, ", "))
		p.Status, p.Detail = http.StatusMethodNotAllowed, "this endpoint wants "+strings.Join(wanted, " or ")
	}
	p.Title = http.StatusText(p.Status)
	WriteProblem(w, p)
}
