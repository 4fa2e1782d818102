package httplink

import (
	"net/http"
	"strings"

	"github.com/miglink/miglink/transport"
)

// nothing is the pattern of what is not served.
const nothing = "/"

// Serve returns mux, which answers what it does not serve with a problem document from now on.
func Serve(mux *http.ServeMux) http.Handler {
	mux.HandleFunc(nothing, func(w http.ResponseWriter, r *http.Request) { unserved(w, mux, r) })
	return mux
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
	p := Problem{Type: "about:blank", Status: http.StatusNotFound, Code: transport.CodeInvalid, Detail: "there is no such endpoint"}
	if wanted != nil {
		w.Header().Set("Allow", strings.Join(wanted, ", "))
		p.Status, p.Detail = http.StatusMethodNotAllowed, "this endpoint wants "+strings.Join(wanted, " or ")
	}
	p.Title = http.StatusText(p.Status)
	WriteProblem(w, p)
}
