package httplink

import (
	"net/http"

	"github.com/miglink/miglink/transport"
)

// CanHijack returns an error to answer with where the connection of a request over HTTP/1.1 cannot be taken over, and
// CanFlush where an answer cannot be sent as it is written: a middleware has wrapped the ResponseWriter and lets nobody
// have the one inside. They are called before the request has an effect.
func CanHijack(w http.ResponseWriter) error {
	if has[http.Hijacker](w) {
		return nil
	}
	return hidden("be taken over")
}

// CanFlush is described at CanHijack.
func CanFlush(w http.ResponseWriter) error {
	if has[http.Flusher](w) || has[interface{ FlushError() error }](w) {
		return nil
	}
	return hidden("stream")
}

func hidden(what string) error {
	return WithStatus(http.StatusNotImplemented, transport.Errorf(transport.CodeProtocol,
		"a middleware of the controller's server wraps its http.ResponseWriter, so that the connection cannot %s: give what it wraps with a method Unwrap() http.ResponseWriter", what))
}

// has looks for T as http.ResponseController does.
func has[T any](w http.ResponseWriter) bool {
	for {
		if _, ok := w.(T); ok {
			return true
		}
		u, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = u.Unwrap()
	}
}
